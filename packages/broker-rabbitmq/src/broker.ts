import {
  BrokerBase,
  faultOf,
  type Broker,
  type BrokerAdmin,
  type BrokerCapabilities,
  type ConnectionLeases,
  type ConnectOptions,
  type Consumer,
  type ConsumeOptions,
  type OutboundMessage,
  type PublishResult,
  type QueueSpec,
} from '@zyqueue/core/broker'
import { createAdmin } from './admin/admin.ts'
import { locationOf, parseAddress, type Address } from './connection/address.ts'
import { openConnectionState, type ConnectionState } from './connection/connection-state.ts'
import { RabbitConsumer } from './consume/consumer.ts'
import { errorCode } from './errors.ts'
import { propertiesOf } from './message.ts'
import {
  conditionsOf,
  dueQueueOf,
  hasDueQueue,
  planOf,
  prioritiesOf,
  routeOfSubmission,
  type Plan,
  type Route,
} from './options.ts'
import { STORED } from './publish/publish-channel.ts'
import { Restorer, type Copy } from './publish/restorer.ts'
import { declare } from './topology.ts'

/** Core has several batches under way: the server writes one while the client prepares the next. */
const MAX_BATCH = 250
/** The default `max_message_size` from 4.0 on. */
const MAX_BODY_BYTES = 16 * 1024 * 1024
const DEFAULT_ROUTE: Route = { exchange: '', exchangeType: 'direct', routingKeys: [] }

export class RabbitBroker extends BrokerBase<ConnectionState> implements Broker {
  readonly name = 'rabbitmq'
  readonly location: string
  readonly capabilities: BrokerCapabilities
  readonly leases: ConnectionLeases = { kind: 'connection' }
  readonly admin: BrokerAdmin
  readonly errorCode = errorCode
  readonly #address: Address
  /** The declared queues. */
  readonly #plans = new Map<string, Plan>()
  readonly #restorer = new Restorer(this.#plans)

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor({ connection }: ConnectOptions) {
    super('RabbitMQ')
    this.#address = parseAddress(connection)
    this.location = locationOf(this.#address)
    this.capabilities = this.capabilitiesOf({ name: '', options: {} })
    this.admin = createAdmin(() => this.connection, this.#address, this.#plans)
  }

  capabilitiesOf(queue: QueueSpec): BrokerCapabilities {
    const plan = this.#planOf(queue)
    return Object.freeze({
      durable: !plan.temporary,
      delay: 'emulated',
      deadLetter: 'emulated',
      deliveryCount: 'native',
      priorities: prioritiesOf(plan),
      release: 'republish',
      idempotentPublish: false,
      maxBatch: MAX_BATCH,
      maxBodyBytes: MAX_BODY_BYTES,
    })
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    const plans = queues.map((queue) => this.#planOf(queue))
    const state = this.connection
    for (const plan of plans) {
      await declare(state, plan)
      this.#plans.set(plan.name, plan)
      if (!plan.temporary) await state.catalog.addQueue(plan.name, hasDueQueue(plan))
    }
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    const state = this.connection
    const sent: Copy[] = []
    /** For each message: where its copies are in `sent`, or why there are none. */
    const parts: ({ readonly from: number; readonly to: number } | PublishResult)[] = []
    let isOneEach = true
    for (const message of batch) {
      try {
        const copies = this.#copiesOf(message)
        const from =
          sent.push(...(message.delayMs > 0 ? await this.#delay(state, message, copies) : copies)) - copies.length
        parts.push({ from, to: sent.length })
        isOneEach &&= copies.length === 1
      } catch (error) {
        if (!state.connection.open) throw error
        parts.push({ status: 'refused', error })
      }
    }
    const results = await this.#restorer.publish(state, sent)
    if (isOneEach && sent.length === batch.length) return results
    return parts.map((part) => ('status' in part ? part : combined(results.slice(part.from, part.to))))
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    const plans = options.queues.map((queue) => this.#planOf(queue))
    const state = this.connection
    return this.addConsumer((onClosed) => RabbitConsumer.open(state, this.#restorer, plans, options, onClosed))
  }

  protected openConnection(signal: AbortSignal): Promise<ConnectionState> {
    return openConnectionState(this.#address, signal)
  }

  protected isOpen({ connection }: ConnectionState): boolean {
    return connection.open
  }

  protected closeConnection(state: ConnectionState): Promise<void> {
    return state.close()
  }

  /** One for each routing key. Throws `ConfigError` or `BrokerError` if the message cannot be sent. */
  #copiesOf(message: OutboundMessage): readonly Copy[] {
    const { queue, options, body: bytes } = message
    const fault = faultOf('RabbitMQ', message, MAX_BODY_BYTES)
    if (fault !== undefined) throw fault
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const properties = propertiesOf(message)
    const declared = this.#plans.get(queue)?.route ?? DEFAULT_ROUTE
    if (options === undefined && declared.exchange === '') {
      return [{ queue, exchange: '', routingKey: queue, body, properties }]
    }
    const route = routeOfSubmission(queue, declared, options ?? {})
    const { exchange, routingKeys } = route
    if (route.exchangeType === 'headers') {
      const headers = { ...properties.headers, ...conditionsOf(route) }
      return [{ queue, exchange, routingKey: '', body, properties: { ...properties, headers } }]
    }
    const keys = exchange === '' ? [queue] : [...new Set(routingKeys)]
    return keys.map((routingKey) => ({ queue, exchange, routingKey, body, properties }))
  }

  /** Sends copies through the delay levels. At their end they go where they would have gone without a delay. */
  async #delay(
    { delayLevels }: ConnectionState,
    { queue, delayMs, priority }: OutboundMessage,
    copies: readonly Copy[],
  ): Promise<readonly Copy[]> {
    const plan = this.#plans.get(queue)
    const due = plan === undefined ? queue : dueQueueOf(plan)
    return Promise.all(
      copies.map(async ({ exchange, properties, ...copy }) => {
        await delayLevels.declare({ exchange, queue: due })
        const departure = delayLevels.departureOf(delayMs, priority, exchange)
        const headers = { ...properties.headers, ...departure.headers }
        const routingKey = exchange === '' ? due : copy.routingKey
        return { ...copy, routingKey, exchange: departure.exchange, properties: { ...properties, headers } }
      }),
    )
  }

  #planOf(queue: QueueSpec): Plan {
    return planOf(queue, this.#address.queueType)
  }
}

/** The result of one message. If some copies are stored it is not refused: the caller would send all of them again. */
function combined(results: readonly PublishResult[]): PublishResult {
  const failed = results.find(({ status }) => status !== 'stored')
  if (failed === undefined || failed.status === 'stored') return STORED
  const isRefused = results.every(({ status }) => status === 'refused')
  return { status: isRefused ? 'refused' : 'unknown', error: failed.error }
}

import type {
  Broker,
  BrokerAdmin,
  BrokerCapabilities,
  ConnectionLeases,
  ConnectOptions,
  Consumer,
  ConsumeOptions,
  OutboundMessage,
  PublishResult,
  QueueSpec,
} from '@zyqueue/core/broker'
import { BrokerError, ConfigError } from '@zyqueue/core/broker'
import { locationOf, parseAddress, type Address } from './address.ts'
import { createAdmin } from './admin.ts'
import { RabbitConsumer } from './consumer.ts'
import type { Ladder } from './delays.ts'
import { closed, connectionLost, errorCode, messageOf } from './errors.ts'
import { Link } from './link.ts'
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
import { STORED, type Outgoing } from './lane.ts'
import { pause } from './patience.ts'
import { Publisher } from './publisher.ts'
import { restore } from './restore.ts'
import { createSession, type Session } from './session.ts'
import { countsOf, declare } from './topology.ts'

/** Several are under way at once: the server writes one while the client makes the next. */
const MAX_BATCH = 250
/** What RabbitMQ takes from 4.0 on where nobody has set `max_message_size`. */
const MAX_BODY_BYTES = 16 * 1024 * 1024
/** Two connections: an alarm of the server blocks the one that publishes, which must not keep back acknowledgements. */
export class RabbitBroker implements Broker {
  readonly name = 'rabbitmq'
  readonly location: string
  readonly capabilities: BrokerCapabilities
  readonly admin: BrokerAdmin
  readonly leases: ConnectionLeases = { kind: 'connection' }
  readonly errorCode = errorCode
  readonly #address: Address
  readonly #end = new AbortController()
  readonly #publisher: Publisher
  readonly #consumers = new Set<RabbitConsumer>()
  /** What was declared, by its queue. */
  readonly #plans = new Map<string, Plan>()
  readonly #restoring = new Map<string, Promise<Restored>>()
  /** Queues whose restoration did not help, until when (on the clock of `performance.now()`), and why. */
  readonly #notRestored = new Map<string, { readonly untilMs: number; readonly cause: unknown }>()
  #session: Session | undefined
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor({ connection }: ConnectOptions) {
    this.#address = parseAddress(connection)
    this.location = locationOf(this.#address)
    this.#publisher = new Publisher(
      () => this.#dial('publishes'),
      () => {
        this.#session?.ladder.forget()
        this.#session?.deadQueues.clear()
      },
    )
    this.capabilities = this.capabilitiesOf({ name: '', options: {} })
    this.admin = createAdmin(() => this.#open(), this.#address, this.#plans)
  }

  capabilitiesOf(queue: QueueSpec): BrokerCapabilities {
    const plan = this.#plan(queue)
    return Object.freeze({
      durable: !plan.temporary,
      delay: 'emulated',
      deadLetter: 'emulated',
      // A classic queue only tells that a job had an owner. The adapter makes a count of it, without `reclaim`.
      deliveryCount: 'native',
      priorities: prioritiesOf(plan),
      release: 'republish',
      idempotentPublish: false,
      maxBatch: MAX_BATCH,
      maxBodyBytes: MAX_BODY_BYTES,
    })
  }

  async connect(): Promise<void> {
    this.#assertNotClosed()
    if (this.#session?.link.open === true) return
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined
    })
    await this.#connecting
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    const plans = queues.map((queue) => this.#plan(queue))
    const { workbench, registry } = this.#open()
    for (const plan of plans) {
      await declare(workbench, plan)
      this.#plans.set(plan.name, plan)
      if (plan.temporary) continue
      await registry.addQueue(plan.name)
      if (hasDueQueue(plan)) await registry.addDue(plan.name)
    }
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    const session = this.#open()
    const sent: Copy[] = []
    /** For each message: how many copies of it are sent, or why none is. */
    const counts: (number | PublishResult)[] = []
    for (const message of batch) {
      try {
        const copies = this.#copies(message)
        const delayed = message.delayMs > 0 ? await this.#delay(session.ladder, message, copies) : copies
        sent.push(...delayed)
        counts.push(copies.length)
      } catch (error) {
        if (!session.link.open) throw error
        counts.push({ status: 'refused', error })
      }
    }
    const results = await this.#send(session, sent)
    if (sent.length === batch.length) return results
    let next = 0
    return counts.map((count) => (typeof count === 'number' ? combined(results.slice(next, (next += count))) : count))
  }

  /** If a queue, its exchange or a binding was deleted, it is declared again, and what was refused for that is sent once more. */
  async #send(session: Session, copies: readonly Copy[]): Promise<readonly PublishResult[]> {
    const results = [...(await this.#publisher.publish(copies))]
    const unroutable = [...copies.entries()].filter(([index]) => isUnroutable(results[index]))
    const queues = [...new Set(unroutable.map(([, { queue }]) => queue))]
    const restored = new Map(
      await Promise.all(queues.map(async (queue) => [queue, await this.#restore(session, queue)] as const)),
    )
    for (const [index, { queue }] of unroutable) {
      const cause = restored.get(queue)?.cause
      if (cause !== undefined) results[index] = { status: 'refused', error: notDeclared(queue, cause) }
    }
    const again = unroutable.filter(([, { queue }]) => restored.get(queue)?.isRestored === true)
    // The first results hold for copies that are not sent again.
    const repeated = await this.#publisher.publish(again.map(([, copy]) => copy)).catch(() => [])
    for (const [position, [index, { queue }]] of again.entries()) {
      const result = repeated[position]
      if (result === undefined) continue
      results[index] = result
      if (isUnroutable(result)) this.#noteNotRestored(queue, undefined)
    }
    return results
  }

  /** Declares the topology of the queue again. Never rejects. Calls at one time share one restoration. */
  #restore(session: Session, queue: string): Promise<Restored> {
    const plan = this.#plans.get(queue)
    if (plan === undefined || plan.passive) return Promise.resolve({ isRestored: false })
    const last = this.#notRestored.get(queue)
    if (last !== undefined && performance.now() < last.untilMs) {
      return Promise.resolve({ isRestored: false, cause: last.cause })
    }
    this.#notRestored.delete(queue)
    let restoring = this.#restoring.get(queue)
    if (restoring === undefined) {
      restoring = this.#restorePlan(session, plan).finally(() => this.#restoring.delete(queue))
      this.#restoring.set(queue, restoring)
    }
    return restoring
  }

  async #restorePlan(session: Session, plan: Plan): Promise<Restored> {
    try {
      const isDeleted = !plan.temporary && (await countsOf(session.workbench, plan.name)) === undefined
      if (isDeleted) await pause(CANCEL_MS)
      await restore(session, plan)
      return { isRestored: true }
    } catch (cause) {
      if (session.link.open) this.#noteNotRestored(plan.name, cause)
      return { isRestored: false, cause }
    }
  }

  #noteNotRestored(queue: string, cause: unknown): void {
    this.#notRestored.set(queue, { untilMs: performance.now() + RESTORE_AGAIN_MS, cause })
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    const plans = options.queues.map((queue) => this.#plan(queue))
    const { link } = this.#open()
    const session = (): Session => this.#connected()
    const consumer = await RabbitConsumer.open(link, session, plans, options, () => this.#consumers.delete(consumer))
    this.#consumers.add(consumer)
    if (this.#closing === undefined) return consumer
    await consumer.close()
    throw closed()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()))
    // Connections that are being opened are given up; those that are open are not touched by it.
    this.#end.abort()
    await this.#publisher.close()
    await this.#connecting?.catch(() => undefined)
    await this.#session?.link.close()
  }

  async #connect(): Promise<void> {
    this.#session = createSession(await this.#dial('consumes'), this.#publisher)
  }

  async #dial(what: string): Promise<Link> {
    try {
      return await Link.open(this.#address, `zyqueue ${what}`, this.#end.signal)
    } catch (error) {
      if (this.#end.signal.aborted) throw closed()
      throw error
    }
  }

  /** One for each routing key. Throws `ConfigError` or `BrokerError` where it cannot be sent. */
  #copies(message: OutboundMessage): readonly Copy[] {
    const { queue, options, body: bytes } = message
    checkMessage(message)
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const properties = propertiesOf(message)
    const declared = this.#plans.get(queue)?.route
    if (options === undefined && (declared === undefined || declared.exchange === '')) {
      return [{ queue, exchange: '', routingKey: queue, body, properties }]
    }
    const route = routeOfSubmission(queue, declared ?? DEFAULT_ROUTE, options ?? {})
    const { exchange, routingKeys } = route
    if (route.exchangeType === 'headers') {
      const headers = { ...properties.headers, ...conditionsOf(route) }
      return [{ queue, exchange, routingKey: '', body, properties: { ...properties, headers } }]
    }
    const keys = exchange === '' ? [queue] : [...new Set(routingKeys)]
    return keys.map((routingKey) => ({ queue, exchange, routingKey, body, properties }))
  }

  /** Sends copies up the ladder of delays, at whose end they go where they would have gone now. */
  async #delay(
    ladder: Ladder,
    { queue, delayMs, priority }: OutboundMessage,
    copies: readonly Copy[],
  ): Promise<readonly Copy[]> {
    const plan = this.#plans.get(queue)
    const due = plan === undefined ? queue : dueQueueOf(plan)
    return Promise.all(
      copies.map(async ({ exchange, properties, ...copy }) => {
        const departure = await ladder.prepare(delayMs, priority, { exchange, queue: due })
        const headers = { ...properties.headers, ...departure.headers }
        const routingKey = exchange === '' ? due : copy.routingKey
        return { ...copy, routingKey, exchange: departure.exchange, properties: { ...properties, headers } }
      }),
    )
  }

  #plan(queue: QueueSpec): Plan {
    return planOf(queue, this.#address.queueType)
  }

  #open(): Session {
    this.#assertNotClosed()
    return this.#connected()
  }

  /** Also while it is being closed: consumers give back then. */
  #connected(): Session {
    if (this.#session?.link.open === true) return this.#session
    throw connectionLost('The RabbitMQ broker is not connected')
  }

  #assertNotClosed(): void {
    if (this.#closing !== undefined) throw closed()
  }
}

const DEFAULT_ROUTE: Route = { exchange: '', exchangeType: 'direct', routingKeys: [] }

/**
 * How long a producer waits before it declares a deleted queue, in ms. If the queue is there again when the server ends the
 * consumers, 3.10 moves them to the new queue without a word, and drops what they get there.
 */
const CANCEL_MS = 500

/** How long a queue is not restored again if that did not help. */
const RESTORE_AGAIN_MS = 5_000

interface Restored {
  readonly isRestored: boolean
  /** Why the queue could not be declared again. */
  readonly cause?: unknown
}

/** A message of a queue that core knows by this name. */
interface Copy extends Outgoing {
  readonly queue: string
}

function isUnroutable(result: PublishResult | undefined): boolean {
  return result?.status === 'refused' && errorCode(result.error) === 'ZYQ_UNROUTABLE'
}

function notDeclared(queue: string, cause: unknown): BrokerError {
  const text = `RabbitMQ has no way to the queue "${queue}", which cannot be declared again: ${messageOf(cause)}`
  return new BrokerError('ZYQ_UNROUTABLE', text, { cause })
}

function checkMessage({ id, body }: OutboundMessage): void {
  if (!/^[!-~]{1,63}$/.test(id)) {
    throw new ConfigError('ZYQ_CONFIG', 'A job’s id is 1 to 63 printable ASCII characters')
  }
  if (body.byteLength <= MAX_BODY_BYTES) return
  throw new BrokerError(
    'ZYQ_BODY_TOO_LARGE',
    `The job has ${body.byteLength} bytes; the RabbitMQ broker takes ${MAX_BODY_BYTES}`,
  )
}

/** What became of the copies of one message. Some stored and others not is no refusal: it would be sent again whole. */
function combined(results: readonly PublishResult[]): PublishResult {
  const failed = results.find(({ status }) => status !== 'stored')
  if (failed === undefined || failed.status === 'stored') return STORED
  const isRefused = results.every(({ status }) => status === 'refused')
  return { status: isRefused ? 'refused' : 'unknown', error: failed.error }
}

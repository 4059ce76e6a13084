import { setTimeout as sleep } from 'node:timers/promises'
import {
  BrokerError,
  ConfigError,
  type Broker,
  type BrokerCapabilities,
  type CallOptions,
  type CallResult,
  type Charge,
  type ConnectOptions,
  type Consumer,
  type ConsumeOptions,
  type OutboundMessage,
  type PublishResult,
  type QueueSpec,
} from '@zyqueue/core/broker'
import { GearmanAdmin } from './admin/admin.ts'
import { chargesOf } from './consume/lost-deliveries.ts'
import type { PacketConnection } from './connection/packet-connection.ts'
import { GearmanConsumer } from './consume/consumer.ts'
import { closed, connectionLost, errorCode } from './errors.ts'
import { checkQueue, parseAddresses, refuseOptions } from './options.ts'
import { callOf, firstOf, type Routed } from './routes.ts'
import { askAll, GearmanServer } from './connection/gearman-server.ts'
import { submit } from './publish/publish.ts'
import { isMessageId, MAX_UNIQUE_BYTES } from './message.ts'

/** Some of these are under way at once. Their answers come one after the other, and who submits anew does so while the server works. */
const MAX_BATCH = 128
/** gearmand holds every payload in memory, and sends it in one piece. */
const MAX_BODY_BYTES = 32 * 1024 * 1024
/** How long a `connect` that has reached one server waits for the others, in ms. */
const OTHERS_MS = 250

export class GearmanBroker implements Broker {
  readonly name = 'gearman'
  readonly location: string
  readonly capabilities: BrokerCapabilities
  readonly admin: GearmanAdmin
  readonly #servers: readonly GearmanServer[]
  readonly #consumers = new Set<GearmanConsumer>()
  #turn = 0
  #closing: Promise<void> | undefined

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor({ connection }: ConnectOptions) {
    this.#servers = parseAddresses(connection).map((address) => new GearmanServer(address))
    this.location = this.#servers.map(({ name }) => name).join(', ')
    this.admin = new GearmanAdmin(this.#servers)
    this.capabilities = Object.freeze({
      durable: false,
      delay: 'emulated',
      lease: 'connection',
      deadLetter: 'emulated',
      deliveryCount: 'emulated',
      priorities: 3,
      release: 'republish',
      ordered: this.#servers.length === 1,
      idempotentPublish: false,
      call: 'native',
      maxBatch: MAX_BATCH,
      maxBodyBytes: MAX_BODY_BYTES,
    })
  }

  /** Resolves when one server answers, and the others have had a moment to. */
  async connect({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#assertOpen()
    signal?.throwIfAborted()
    const attempts = this.#servers.map((server) => server.connect())
    const all = Promise.allSettled(attempts)
    try {
      await Promise.any(attempts)
    } catch (error) {
      throw error instanceof AggregateError ? error.errors[0] : error
    }
    await Promise.race([all, sleep(OTHERS_MS, undefined, { ref: false })])
    this.#assertOpen()
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const queue of queues) checkQueue(queue)
    this.#assertOpen()
    if (queues.length === 0) return
    await askAll(this.#servers, (server) =>
      server.command((text) => Promise.all(queues.map(({ name }) => text.command(`create function ${name}`)))),
    )
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    const clients = this.#clients()
    const nowMs = Date.now()
    const results: PublishResult[] = []
    const routed: { readonly index: number; readonly message: OutboundMessage; readonly route: Routed }[] = []
    for (const [index, message] of batch.entries()) {
      const fault = faultOf(message)
      if (fault === undefined) routed.push({ index, message, route: firstOf(message, nowMs) })
      else results[index] = { status: 'refused', error: fault }
    }
    // A part of the batch for each server, beginning with another one each time.
    const size = Math.ceil(routed.length / clients.length)
    const turn = this.#turn++
    const parts = clients.map((_, index) => routed.slice(index * size, (index + 1) * size))
    await Promise.all(
      parts.map(async (part, place) => {
        const { server, client } = clients[(place + turn) % clients.length] ?? {}
        if (client === undefined || server === undefined || part.length === 0) return
        const settled = await submitPart(
          client,
          part.map(({ route }) => route),
          clients.length === 1,
        )
        for (const [offset, { index, message, route }] of part.entries()) {
          const result = settled[offset]
          if (result !== undefined) results[index] = result
          if (route.atMs !== undefined) this.#hint(server, message.queue, route.atMs)
        }
      }),
    )
    return results
  }

  async call(message: OutboundMessage, options: CallOptions): Promise<CallResult> {
    const clients = this.#clients()
    const fault = faultOf(message)
    if (fault !== undefined) return { status: 'refused', error: fault }
    const { server } = clients[this.#turn++ % clients.length] ?? {}
    if (server === undefined) throw connectionLost(this.location)
    return server.call(callOf(message), options)
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    for (const queue of options.queues) checkQueue(queue)
    this.#assertOpen()
    const consumer = await GearmanConsumer.open(this.#servers, options, (closed) => this.#consumers.delete(closed))
    if (this.#closing !== undefined) {
      await consumer.close()
      throw closed()
    }
    this.#consumers.add(consumer)
    return consumer
  }

  /** The server has taken the jobs back by itself; what it does not do is count. */
  async reclaim(consumerId: string, charged: readonly Charge[]): Promise<void> {
    const clients = this.#clients()
    const charges = chargesOf(consumerId, charged)
    // The job may be on any server, and whoever gets it looks for charges there.
    const results = await Promise.all(clients.map(({ client }) => submit(client, charges)))
    for (const result of results.flat()) if (result.status !== 'stored') throw result.error
  }

  readonly errorCode = errorCode

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()))
    for (const server of this.#servers) server.close()
  }

  /** Those that answer; the others are tried again beside it. Throws `ZYQ_CONNECTION_LOST` where there is none. */
  #clients(): readonly { readonly server: GearmanServer; readonly client: PacketConnection }[] {
    this.#assertOpen()
    const clients = this.#servers.flatMap((server) => {
      const { client } = server
      return client === undefined ? [] : [{ server, client }]
    })
    if (clients.length === 0) throw connectionLost(this.location)
    if (clients.length < this.#servers.length) for (const server of this.#servers) server.rejoin()
    return clients
  }

  #hint(server: GearmanServer, queue: string, atMs: number): void {
    for (const consumer of this.#consumers) consumer.hint(server, queue, atMs)
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closed()
  }
}

/** Of several servers each answers for its own part, whatever the others do. */
async function submitPart(
  client: PacketConnection,
  routes: readonly Routed[],
  isOnly: boolean,
): Promise<readonly PublishResult[]> {
  try {
    return await submit(client, routes)
  } catch (error) {
    if (isOnly) throw error
    return routes.map(() => ({ status: 'refused', error }))
  }
}

function faultOf({ queue, id, body, options }: OutboundMessage): unknown {
  try {
    checkQueue({ name: queue, options: {} })
    refuseOptions(options)
  } catch (error) {
    return error
  }
  if (!isMessageId(id)) {
    return new ConfigError('ZYQ_CONFIG', `A job's id is 1 to ${MAX_UNIQUE_BYTES} printable ASCII characters`)
  }
  if (body.length > MAX_BODY_BYTES) {
    return new BrokerError(
      'ZYQ_BODY_TOO_LARGE',
      `The job has ${body.length} bytes; the Gearman broker takes ${MAX_BODY_BYTES}`,
    )
  }
  return undefined
}

import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  BrokerBase,
  faultOf,
  refuseUnknownOptions,
  type Answer,
  type Broker,
  type BrokerCapabilities,
  type Calls,
  type ConnectOptions,
  type Consumer,
  type ConsumeOptions,
  type Leases,
  type LostDelivery,
  type OutboundMessage,
  type PublishResult,
  type QueueSpec,
  type SettleResult,
} from '@zyqueue/core/broker'
import { GearmanAdmin } from './admin/admin.ts'
import { GearmanConsumer } from './consume/consumer.ts'
import { encodeLostDeliveries } from './consume/lost-deliveries.ts'
import { closed, connectionLost, errorCode } from './errors.ts'
import { askServers, GearmanServer } from './gearman-server.ts'
import { encodeJob, type GearmanJob, type Submission } from './message.ts'
import { checkQueue, parseAddresses, TITLE } from './options.ts'

/** Core submits several batches at once. Small ones let the client encode one while the server works on another. */
const MAX_BATCH = 128
/** gearmand holds every payload in memory, and sends it in one piece. */
const MAX_BODY_BYTES = 32 * 1024 * 1024
/** How long `connect` waits for the other servers after one has answered. */
const OTHERS_TIMEOUT_MS = 250

/** A message of a batch that can be sent, with its place in the batch. */
interface Outgoing {
  readonly index: number
  readonly submission: Submission
}

export class GearmanBroker extends BrokerBase<readonly GearmanServer[]> implements Broker {
  readonly name = 'gearman'
  readonly location: string
  readonly capabilities: BrokerCapabilities
  readonly leases: Leases
  readonly calls: Calls
  readonly admin: GearmanAdmin
  readonly #servers: readonly GearmanServer[]
  readonly #end = new AbortController()
  #turn = 0

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor({ connection }: ConnectOptions) {
    super(TITLE)
    // Each connection that is being opened listens, and each request of an operator.
    setMaxListeners(0, this.#end.signal)
    this.#servers = parseAddresses(connection).map((address) => new GearmanServer(address, this.#end.signal))
    this.location = this.#servers.map(({ name }) => name).join(', ')
    this.admin = new GearmanAdmin(this.#servers)
    this.leases = { kind: 'connection', reclaim: (consumerId, lost) => this.#reclaim(consumerId, lost) }
    this.calls = {
      call: async (message, options) => {
        const servers = this.#connectedServers()
        const submission = this.#encode(message, 'call')
        if (submission instanceof Error) return { status: 'refused', error: submission }
        const server = servers[this.#turn++ % servers.length]
        if (server === undefined) throw connectionLost(this.location)
        return server.publisher.call(submission, options)
      },
      answer: (answers) => this.#answer(answers),
      sendUpdate: (delivery, update) => {
        for (const consumer of this.#gearmanConsumers()) consumer.sendUpdate(delivery, update)
      },
    }
    this.capabilities = Object.freeze({
      durable: false,
      delay: 'emulated',
      deadLetter: 'emulated',
      deliveryCount: 'emulated',
      priorities: 3,
      release: 'republish',
      ordered: this.#servers.length === 1,
      idempotentPublish: false,
      maxBatch: MAX_BATCH,
      maxBodyBytes: MAX_BODY_BYTES,
    })
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const queue of queues) checkQueue(queue)
    this.#end.signal.throwIfAborted()
    if (queues.length === 0) return
    await askServers(this.#servers, (server) =>
      server.command((text) => Promise.all(queues.map(({ name }) => text.command(`create function ${name}`)))),
    )
  }

  /** The servers get messages in turn, and the next batch begins with the next server. */
  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    const servers = this.#connectedServers()
    const results: PublishResult[] = []
    const parts = servers.map((): Outgoing[] => [])
    const turn = this.#turn++
    for (const [index, message] of batch.entries()) {
      const submission = this.#encode(message, 'new')
      if (submission instanceof Error) results[index] = { status: 'refused', error: submission }
      else parts[(index + turn) % parts.length]?.push({ index, submission })
    }
    await Promise.all(
      servers.map(async (server, place) => {
        const part = parts[place] ?? []
        const stored = await submitPart(server, part, servers.length === 1)
        for (const [position, { index, submission }] of part.entries()) {
          const result = stored[position]
          if (result !== undefined) results[index] = result
          server.expectDelayed(submission)
        }
      }),
    )
    return results
  }

  consume(options: ConsumeOptions): Promise<Consumer> {
    return this.addConsumer(async (onClosed) => {
      for (const queue of options.queues) checkQueue(queue)
      this.#end.signal.throwIfAborted()
      return GearmanConsumer.open(this.#servers, options, onClosed)
    })
  }

  readonly errorCode = errorCode

  override async close(): Promise<void> {
    await super.close()
    this.#end.abort(closed())
  }

  /** Resolves when one server answers, and the others have had a moment to. */
  protected override async openConnection(signal: AbortSignal): Promise<readonly GearmanServer[]> {
    const onAbort = (): void => this.#end.abort(signal.reason)
    signal.addEventListener('abort', onAbort)
    try {
      const attempts = this.#servers.map((server) => server.connect())
      await Promise.any(attempts)
      await Promise.race([Promise.allSettled(attempts), sleep(OTHERS_TIMEOUT_MS, undefined, { ref: false })])
      return this.#servers
    } catch (error) {
      throw error instanceof AggregateError ? error.errors[0] : error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  protected override isOpen(servers: readonly GearmanServer[]): boolean {
    return servers.some(({ isConnected }) => isConnected)
  }

  /** The connections end with the signal. */
  protected override async closeConnection(): Promise<void> {}

  /** The server has taken the jobs back already. Another worker gets a job from any server and looks for its notes there. */
  async #reclaim(consumerId: string, lost: readonly LostDelivery[]): Promise<void> {
    const notes = encodeLostDeliveries(consumerId, lost)
    const results = await Promise.all(this.#connectedServers().map(({ publisher }) => publisher.submit(notes)))
    for (const result of results.flat()) if (result.status !== 'stored') throw result.error
  }

  async #answer(answers: readonly Answer[]): Promise<readonly SettleResult[]> {
    const results: SettleResult[] = answers.map(() => ({ status: 'lease-lost' }))
    await Promise.all(
      [...this.#gearmanConsumers()].map(async (consumer) => {
        const own = [...answers.entries()].filter(([, { delivery }]) => consumer.holds(delivery))
        if (own.length === 0) return
        const settled = await consumer.answer(own.map(([, answer]) => answer))
        for (const [position, [index]] of own.entries()) results[index] = settled[position] ?? { status: 'lease-lost' }
      }),
    )
    return results
  }

  /** The servers that are connected. The others are connected again meanwhile. Throws `ZYQ_CONNECTION_LOST` if none is. */
  #connectedServers(): readonly GearmanServer[] {
    for (const server of this.connection) server.reconnect()
    const connected = this.connection.filter(({ isConnected }) => isConnected)
    if (connected.length === 0) throw connectionLost(this.location)
    return connected
  }

  /** Why the message cannot be sent, or its packet. */
  #encode(message: OutboundMessage, kind: 'new' | 'call'): Submission | Error {
    const { queue, id, headers, body, priority, delayMs, options } = message
    try {
      checkQueue({ name: queue, options: {} })
      refuseUnknownOptions(TITLE, options)
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
    const fault = faultOf(TITLE, message, MAX_BODY_BYTES)
    if (fault !== undefined) return fault
    const dueMs = delayMs > 0 ? Math.ceil(Date.now() + delayMs) : undefined
    const job: GearmanJob = { id, headers, body, priority, deliveryCount: 0, dueMs }
    return encodeJob(queue, job, kind)
  }

  *#gearmanConsumers(): Iterable<GearmanConsumer> {
    for (const consumer of this.consumers) if (consumer instanceof GearmanConsumer) yield consumer
  }
}

/** If there are several servers, one that fails does not affect the parts of the others. */
async function submitPart(
  { publisher }: GearmanServer,
  part: readonly Outgoing[],
  isWhole: boolean,
): Promise<readonly PublishResult[]> {
  try {
    return await publisher.submit(part.map(({ submission }) => submission))
  } catch (error) {
    if (isWhole) throw error
    return part.map(() => ({ status: 'refused', error }))
  }
}

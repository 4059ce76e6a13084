import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Channel, ConsumeMessage, Message } from 'amqplib'
import { BrokerError } from '@zyqueue/core/broker'
import { z } from 'zod'
import type { AmqpConnection } from '../connection/amqp-connection.ts'
import type { DeclareChannel } from '../connection/declare-channel.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { Publisher } from '../publish/publisher.ts'

/** A stream: any number of readers read all of it at once, and reading takes nothing out. */
const CATALOG = 'zyqueue.catalog'
const FORMAT = 1
/** The server deletes the oldest records beyond this. A queue that is missing then is noted again when it is declared. */
const MAX_BYTES = 2_000_000
const SEGMENT_BYTES = 500_000
const PREFETCH = 1_000
/** If the server deletes records meanwhile, fewer come than it has counted: the reader stops when none has come for this long. */
const QUIET_MS = 3_000
const AVAILABLE_TIMEOUT_MS = 5_000
const AVAILABLE_PAUSE_MS = 200
/** The server deletes a presence queue without a consumer after this time. */
const PRESENCE_EXPIRES_MS = 60_000

const record = z.discriminatedUnion('is', [
  /** `hasDue`: delayed jobs of the queue arrive in a queue of their own. */
  z.object({ is: z.literal('queue'), name: z.string(), hasDue: z.boolean() }),
  z.object({
    is: z.literal('worker'),
    id: z.string(),
    /** A queue that has a consumer as long as the worker lives. */
    presence: z.string(),
    client: z.object({ name: z.string(), host: z.string(), pid: z.number() }),
    queues: z.array(z.string()),
    connectedAtMs: z.number(),
  }),
  z.object({ is: z.literal('closed'), presence: z.string() }),
])
type CatalogRecord = z.infer<typeof record>

export type WorkerRecord = Extract<CatalogRecord, { readonly is: 'worker' }>

export interface CatalogContent {
  /** The queues by name, and whether their delayed jobs arrive in a queue of their own. */
  readonly queues: ReadonlyMap<string, boolean>
  /** Workers without a `closed` record, so killed workers are among them. */
  readonly workers: readonly WorkerRecord[]
  /** Records that a newer version wrote. */
  readonly newer: number
}

/** The queues and workers of the virtual host, which AMQP cannot list. Records are only added. */
export class Catalog {
  readonly #connection: AmqpConnection
  readonly #declareChannel: DeclareChannel
  readonly #publisher: Publisher
  #known: Promise<Map<string, boolean>> | undefined
  #declared: Promise<unknown> | undefined

  constructor(connection: AmqpConnection, declareChannel: DeclareChannel, publisher: Publisher) {
    this.#connection = connection
    this.#declareChannel = declareChannel
    this.#publisher = publisher
  }

  async addQueue(name: string, hasDue: boolean): Promise<void> {
    try {
      this.#known ??= this.read().then(({ queues }) => new Map(queues))
      const known = await this.#known
      if (known.get(name) === hasDue) return
      if (await this.#add({ is: 'queue', name, hasDue })) known.set(name, hasDue)
    } catch {
      // The queue is only not listed. If the connection is lost, its other users notice.
      this.#known = undefined
    }
  }

  /** Resolves to the worker's presence: a queue that this channel consumes as long as it is open. */
  async addWorker(channel: Channel, worker: Pick<WorkerRecord, 'id' | 'client' | 'queues'>): Promise<string> {
    const presence = `zyqueue.worker.${randomUUID()}`
    // It is durable because 4.3 refuses other queues that are not exclusive.
    const options = { durable: true, autoDelete: true, arguments: { 'x-expires': PRESENCE_EXPIRES_MS } }
    await this.#connection.ask(() => channel.assertQueue(presence, options))
    await this.#connection.ask(() => channel.consume(presence, () => {}, { noAck: true }))
    await this.#add({ is: 'worker', presence, connectedAtMs: Date.now(), ...worker }).catch(() => {})
    return presence
  }

  async addClosed(presence: string): Promise<void> {
    await this.#add({ is: 'closed', presence }).catch(() => {})
  }

  async read(): Promise<CatalogContent> {
    await this.#declare()
    const queues = new Map<string, boolean>()
    const workers = new Map<string, WorkerRecord>()
    let newer = 0
    for (const { content } of await this.#readAll()) {
      const each = recordOf(content)
      if (each === 'newer') newer++
      else if (each?.is === 'queue') queues.set(each.name, each.hasDue)
      else if (each?.is === 'worker') workers.set(each.presence, each)
      else if (each?.is === 'closed') workers.delete(each.presence)
    }
    return { queues, workers: [...workers.values()], newer }
  }

  /** Waits for a stream that a restarted server has not opened yet. Rejects with `ZYQ_BROKER_BUSY` if that takes too long. */
  async readWhenAvailable(): Promise<CatalogContent> {
    for (const until = performance.now() + AVAILABLE_TIMEOUT_MS; ;) {
      try {
        return await this.read()
      } catch (error) {
        if (replyCode(error) !== REPLY.NOT_FOUND) throw error
        if (performance.now() > until) {
          throw new BrokerError('ZYQ_BROKER_BUSY', `The stream ${CATALOG} is not available`, { cause: error })
        }
        await sleep(AVAILABLE_PAUSE_MS, undefined, { ref: false })
      }
    }
  }

  async #readAll(): Promise<readonly Message[]> {
    const { messageCount } = await this.#declareChannel.run((channel) => channel.checkQueue(CATALOG))
    if (messageCount === 0) return []
    const messages: Message[] = []
    const channel = await this.#connection.channel()
    try {
      let complete = (): void => {}
      const all = new Promise<void>((resolve) => (complete = resolve))
      const onMessage = (message: ConsumeMessage | null): void => {
        if (message === null) return complete()
        messages.push(message)
        channel.ack(message)
        if (messages.length >= messageCount) complete()
      }
      await this.#connection.ask(async () => {
        await channel.prefetch(PREFETCH)
        await channel.consume(CATALOG, onMessage, { arguments: { 'x-stream-offset': 'first' } })
      })
      for (let before = -1; messages.length > before && messages.length < messageCount;) {
        before = messages.length
        await Promise.race([all, sleep(QUIET_MS, undefined, { ref: false })])
      }
      return messages
    } finally {
      channel.close().catch(() => {})
    }
  }

  /** Resolves to whether the record is stored. */
  async #add(added: CatalogRecord): Promise<boolean> {
    if (this.#publisher.blockedBecause !== undefined) return false
    await this.#declare()
    const body = Buffer.from(JSON.stringify({ v: FORMAT, ...added }))
    const properties = { contentType: 'application/json', persistent: true, mandatory: true }
    const [result] = await this.#publisher.publish([{ exchange: '', routingKey: CATALOG, body, properties }])
    return result?.status === 'stored'
  }

  #declare(): Promise<unknown> {
    const arguments_ = {
      'x-queue-type': 'stream',
      'x-max-length-bytes': MAX_BYTES,
      'x-stream-max-segment-size-bytes': SEGMENT_BYTES,
    }
    this.#declared ??= this.#declareChannel
      .run((channel) => channel.assertQueue(CATALOG, { durable: true, arguments: arguments_ }))
      .catch((error: unknown) => {
        this.#declared = undefined
        throw error
      })
    return this.#declared
  }
}

function recordOf(content: Buffer): CatalogRecord | 'newer' | undefined {
  try {
    const value: unknown = JSON.parse(content.toString())
    const { v } = z.object({ v: z.number() }).parse(value)
    return v > FORMAT ? 'newer' : record.parse(value)
  } catch {
    return undefined
  }
}

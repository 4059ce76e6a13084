import type {
  Broker,
  BrokerCapabilities,
  Charge,
  ConnectOptions,
  Consumer,
  ConsumeOptions,
  OutboundMessage,
  PublishResult,
  QueueSpec,
} from '@zyqueue/core/broker'
import { BrokerError, ConfigError } from '@zyqueue/core/broker'
import { SqliteAdmin } from './admin.ts'
import { SqliteConsumer } from './consumer.ts'
import { Database } from './database.ts'
import { drivers, type Driver } from './driver.ts'
import { closed, errorCode } from './errors.ts'
import { store, type NewJob } from './jobs.ts'
import { leaseNow } from './lease-clock.ts'
import { reclaimLease, renewLeases } from './leases.ts'
import { encodeMessage, ID_BYTES, isMessageId } from './message.ts'
import { parseLocation, pathOf, refuseOptions, type Location } from './options.ts'

/** A transaction of so many small jobs takes some milliseconds; a larger one gains nothing, and lets other processes wait. */
const MAX_BATCH = 1000
/** SQLite itself takes a gigabyte, but the write blocks the event loop and every other process for as long as it takes. */
const MAX_BODY_BYTES = 64 * 1024 * 1024

interface Checked {
  readonly message: OutboundMessage
  readonly encoded: Uint8Array
}

export class SqliteBroker implements Broker {
  readonly name = 'sqlite'
  readonly capabilities: BrokerCapabilities
  readonly admin: SqliteAdmin
  readonly #location: Location
  readonly #driver: Driver
  readonly #create: boolean
  #database: Database | undefined
  #opening: Promise<Database> | undefined
  #closing: Promise<void> | undefined
  readonly #consumers = new Set<SqliteConsumer>()

  /** The driver is the preferred one of this Node unless a test names another. Throws `ZYQ_CONNECTION_STRING`. */
  constructor(options: ConnectOptions, driver?: Driver) {
    this.#location = parseLocation(options)
    this.#driver = driver ?? drivers()[0]
    this.#create = options.create ?? true
    this.capabilities = Object.freeze({
      durable: this.#location.kind !== 'memory',
      delay: 'native',
      lease: 'renewable',
      deadLetter: 'native',
      deliveryCount: 'native',
      priorities: 10,
      release: 'native',
      idempotentPublish: false,
      maxBatch: MAX_BATCH,
      maxBodyBytes: MAX_BODY_BYTES,
    })
    this.admin = new SqliteAdmin(() => this.#open(), this.#driver.name)
  }

  get location(): string {
    return pathOf(this.#location) ?? 'in memory'
  }

  async connect({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted()
    if (this.#closing !== undefined) throw closed()
    if (this.#database?.usable === true) return
    this.#opening ??= this.#openAnew().finally(() => {
      this.#opening = undefined
    })
    await this.#opening
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const { options } of queues) refuseOptions(options)
    const database = this.#open()
    const known = await database.read((sql) => queues.every(({ name }) => database.findQueue(sql, name) !== undefined))
    if (known) return
    await database.write((sql) => {
      for (const { name } of queues) database.queueId(sql, name)
    })
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    const database = this.#open()
    const checked = batch.map((message) => check(message))
    const good = checked.filter((entry) => 'encoded' in entry)
    const outcome = good.length === 0 ? STORED : await this.#store(database, good)
    database.wakeSignal.wakeFor(good.map(({ message }) => message.delayMs))
    return checked.map((entry) => ('encoded' in entry ? outcome : entry))
  }

  async #store(database: Database, messages: readonly Checked[]): Promise<PublishResult> {
    const jobBytes = messages.reduce((sum, { encoded }) => sum + encoded.length, 0)
    try {
      await database.write((sql) => {
        const jobs = messages.map(({ message, encoded }): NewJob => {
          const { queue, priority, delayMs } = message
          return { queue: database.queueId(sql, queue), rank: 9 - priority, delayMs, message: encoded }
        })
        store(sql, jobs, Date.now())
      }, jobBytes)
      return STORED
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ZYQ_OUTCOME_UNKNOWN') return { status: 'unknown', error }
      if (code === 'ZYQ_BROKER_FULL' || code === 'ZYQ_BODY_TOO_LARGE') return { status: 'refused', error }
      throw error
    }
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    for (const queue of options.queues) refuseOptions(queue.options)
    const consumer = await SqliteConsumer.open(this.#open(), options, () => this.#consumers.delete(consumer))
    if (this.#closing !== undefined) {
      await consumer.close()
      throw closed()
    }
    this.#consumers.add(consumer)
    return consumer
  }

  async renew(consumerIds: readonly string[], leaseMs: number): Promise<readonly string[]> {
    return this.#open().write((sql) => renewLeases(sql, consumerIds, leaseMs, leaseNow()))
  }

  async reclaim(consumerId: string, charged: readonly Charge[]): Promise<void> {
    const database = this.#open()
    const returned = await database.write((sql) => reclaimLease(sql, consumerId, charged))
    if (returned > 0) database.wakeSignal.wake()
  }

  readonly errorCode = errorCode

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#opening?.catch(() => {})
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()))
    await this.#database?.close()
  }

  async #openAnew(): Promise<Database> {
    await this.#database?.close()
    this.#database = await Database.open(this.#location, this.#driver, this.#create)
    return this.#database
  }

  #open(): Database {
    if (this.#closing !== undefined) throw closed()
    if (this.#database === undefined) {
      throw new BrokerError('ZYQ_CONNECTION_LOST', 'The SQLite broker is not connected: call connect() first')
    }
    return this.#database
  }
}

const STORED: PublishResult = { status: 'stored' }

function check(message: OutboundMessage): Checked | (PublishResult & { status: 'refused' }) {
  try {
    refuseOptions(message.options)
    if (!isMessageId(message.id)) {
      throw new ConfigError('ZYQ_CONFIG', `A job's id is 1 to ${ID_BYTES} printable ASCII characters`)
    }
    if (message.body.length > MAX_BODY_BYTES) {
      throw new BrokerError(
        'ZYQ_BODY_TOO_LARGE',
        `The job has ${message.body.length} bytes; the SQLite broker takes ${MAX_BODY_BYTES}`,
      )
    }
    return { message, encoded: encodeMessage(message) }
  } catch (error) {
    return { status: 'refused', error }
  }
}

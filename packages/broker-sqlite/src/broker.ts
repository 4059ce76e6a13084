import {
  BrokerBase,
  type BrokerError,
  refuseUnknownOptions,
  type Broker,
  type BrokerCapabilities,
  type ConnectOptions,
  type Consumer,
  type ConsumeOptions,
  type OutboundMessage,
  type PublishResult,
  type QueueSpec,
  type RenewableLeases,
} from '@zyqueue/core/broker'
import { SqliteAdmin } from './admin.ts'
import { SqliteConsumer } from './consumer.ts'
import { Database } from './database.ts'
import { drivers, type Driver } from './driver.ts'
import { errorCode, fileLost } from './errors.ts'
import { leaseNow } from './lease-clock.ts'
import { reclaimLease, renewLeases } from './leases.ts'
import { parseLocation, pathOf, type Location } from './options.ts'
import { MAX_BODY_BYTES, publish } from './publish.ts'

/** A transaction of 1,000 small jobs takes some milliseconds. A larger one gains nothing, and other processes wait for it. */
const MAX_BATCH = 1000

/** A queue in one file. All processes that open the file share it. */
export class SqliteBroker extends BrokerBase<Database> implements Broker {
  readonly name = 'sqlite'
  readonly capabilities: BrokerCapabilities
  readonly admin: SqliteAdmin
  readonly leases: RenewableLeases
  readonly errorCode = errorCode
  readonly #location: Location
  readonly #driver: Driver
  readonly #create: boolean

  /** `driver`: default, the preferred one of this Node. Throws `ZYQ_CONNECTION_STRING`. */
  constructor(options: ConnectOptions, driver?: Driver) {
    super('SQLite')
    this.#location = parseLocation(options)
    this.#driver = driver ?? drivers()[0]
    this.#create = options.create ?? true
    this.capabilities = Object.freeze({
      durable: this.#location.kind !== 'memory',
      delay: 'native',
      deadLetter: 'native',
      deliveryCount: 'native',
      priorities: 10,
      release: 'native',
      idempotentPublish: false,
      maxBatch: MAX_BATCH,
      maxBodyBytes: MAX_BODY_BYTES,
    })
    this.leases = {
      kind: 'renewable',
      renew: async (consumerIds, leaseMs) =>
        this.connection.write((sql) => renewLeases(sql, consumerIds, leaseMs, leaseNow())),
      reclaim: async (consumerId, lost) => {
        const database = this.connection
        const returned = await database.write((sql) => reclaimLease(sql, consumerId, lost))
        if (returned > 0) database.wakeFile.wake()
      },
    }
    this.admin = new SqliteAdmin(() => this.connection, this.#driver.name)
  }

  get location(): string {
    return pathOf(this.#location) ?? 'in memory'
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const { options } of queues) refuseUnknownOptions('SQLite', options)
    const database = this.connection
    const known = await database.read((sql) => queues.every(({ name }) => database.findQueue(sql, name) !== undefined))
    if (known) return
    await database.write((sql) => {
      for (const { name } of queues) database.queueId(sql, name)
    })
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    return publish(this.connection, batch)
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    for (const queue of options.queues) refuseUnknownOptions('SQLite', queue.options)
    return this.addConsumer((onClosed) => SqliteConsumer.open(this.connection, options, onClosed))
  }

  protected openConnection(): Promise<Database> {
    return Database.open(this.#location, this.#driver, this.#create)
  }

  protected isOpen(database: Database): boolean {
    return database.usable
  }

  protected override notConnected(last: Database | undefined): BrokerError {
    return last?.lost === true ? fileLost(last.path) : super.notConnected(last)
  }

  protected closeConnection(database: Database): Promise<void> {
    return database.close()
  }
}

/** An open queue file with its statements, its transactions and its wake file. A broker and its consumers share one. */
import { statSync } from 'node:fs'
import { SCHEMA } from './attach.ts'
import { text } from './decode.ts'
import type { Driver } from './driver.ts'
import { closed, fileLost } from './errors.ts'
import type { Location } from './options.ts'
import { busyRetry } from './busy-retry.ts'
import { Room } from './room.ts'
import { Sql } from './sql.ts'
import { openStorage, openToRead, type Storage } from './storage.ts'
import { Transactions } from './transactions.ts'
import { WakeFile } from './wake-file.ts'

export class Database {
  readonly wakeFile: WakeFile
  /** The file's path; absent in memory. */
  readonly path: string | undefined
  readonly #location: Location
  readonly #driver: Driver
  #storage: Storage
  #sql: Sql
  /** Absent until the first write if the broker may create no file. */
  #transactions: Transactions | undefined
  #opening: Promise<void> | undefined
  readonly #queueIds = new Map<string, number>()
  readonly #queueNames = new Map<number, string>()
  readonly #identity: string | undefined
  #mode: 'open' | 'lost' | 'closed' = 'open'

  /** Without `create` the file must exist, and nothing is changed before the first write. */
  static async open(location: Location, driver: Driver, create: boolean): Promise<Database> {
    const storage = await (create ? openStorage(location, driver, true) : openToRead(location, driver))
    return new Database(storage, location, driver)
  }

  private constructor(storage: Storage, location: Location, driver: Driver) {
    this.#location = location
    this.#driver = driver
    this.#storage = storage
    this.path = storage.path
    this.wakeFile = new WakeFile(storage.path)
    this.#sql = new Sql(storage.connection)
    this.#identity = this.#fileIdentity()
    if (storage.isStale === undefined) this.#transactions = this.#startTransactions()
  }

  #startTransactions(): Transactions {
    const room = this.path === undefined ? undefined : new Room(this.path, this.#sql)
    return new Transactions(this.#storage.connection, this.#sql, {
      before: (jobBytes) => {
        this.#assertUsable()
        room?.ensure(jobBytes)
      },
      makeRoom: () => room?.checkpoint() ?? false,
      // The transaction may have created queues.
      rolledBack: () => this.#queueIds.clear(),
    })
  }

  /** True while it is open and its file is in place. */
  get usable(): boolean {
    if (this.#mode === 'open' && this.#identity !== this.#fileIdentity()) this.#mode = 'lost'
    return this.#mode === 'open'
  }

  /** True if its file was removed or replaced: the jobs in it are lost for all processes. */
  get lost(): boolean {
    return !this.usable && this.#mode === 'lost'
  }

  /** Runs `work` once outside of a transaction, without waiting for writers. */
  async read<T>(work: (sql: Sql) => T): Promise<T> {
    for (;;) {
      try {
        const result = await busyRetry(() => {
          this.#assertUsable()
          return work(this.#sql)
        })
        if (!this.#isStale) return result
      } catch (error) {
        if (!this.#isStale) throw error
      }
      await this.#reopen(() => openToRead(this.#location, this.#driver))
    }
  }

  /**
   * Runs `work` in a transaction, together with all other work of the same moment, and resolves to its result once that is on
   * the disk. If the transaction is rolled back, `work` may run again, so it must change nothing but the database.
   * `jobBytes` is the size of the jobs that it stores. If the disk is nearly full, they are refused, so that workers can still
   * remove jobs.
   */
  async write<T>(work: (sql: Sql) => T, jobBytes = 0): Promise<T> {
    this.#assertUsable()
    if (this.#transactions !== undefined) return this.#transactions.run(work, jobBytes)
    await this.#reopen(() => openStorage(this.#location, this.#driver, false))
    return this.write(work, jobBytes)
  }

  /** The id of a queue, or undefined if no queue has this name. Call it within a read or a write. */
  findQueue(sql: Sql, name: string): number | undefined {
    const known = this.#queueIds.get(name)
    if (known !== undefined) return known
    const id = sql.first('SELECT id FROM queue WHERE name = ?1', name)?.[0]
    if (typeof id !== 'number') return undefined
    this.#queueIds.set(name, id)
    this.#queueNames.set(id, name)
    return id
  }

  /** The name of a queue whose id this object has read before. */
  queueName(id: number): string {
    const name = this.#queueNames.get(id)
    if (name === undefined) throw new Error(`No queue ${id} was looked up`)
    return name
  }

  /** The id of a queue. Creates the queue if it does not exist. Call it within a write. */
  queueId(sql: Sql, name: string): number {
    const known = this.findQueue(sql, name)
    if (known !== undefined) return known
    sql.run('INSERT INTO queue (name) VALUES (?1)', name)
    return this.queueId(sql, name)
  }

  /** Finishes the pending writes, then closes the file. Idempotent. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => {})
    await this.#transactions?.idle()
    if (this.#mode === 'open') this.#mode = 'closed'
    if (this.path !== undefined) this.#storage.connection.close()
    this.wakeFile.close()
  }

  /** `wal`, unless the file system has no shared memory. */
  async journalMode(): Promise<string> {
    return this.#storage.journalMode ?? this.read((sql) => text(sql.first(`PRAGMA ${SCHEMA}.journal_mode`)?.[0]))
  }

  get #isStale(): boolean {
    return this.#storage.isStale?.() === true
  }

  /** Replaces a connection that can only read. Rejects with a `BrokerError`. */
  async #reopen(open: () => Promise<Storage>): Promise<void> {
    this.#opening ??= this.#replaceStorage(open).finally(() => (this.#opening = undefined))
    await this.#opening
  }

  async #replaceStorage(open: () => Promise<Storage>): Promise<void> {
    const storage = await open()
    this.#storage.connection.close()
    this.#storage = storage
    this.#sql = new Sql(storage.connection)
    if (storage.isStale === undefined) this.#transactions = this.#startTransactions()
  }

  #assertUsable(): void {
    if (this.usable) return
    if (this.#mode === 'closed') throw closed()
    throw fileLost(this.path)
  }

  /** A process can still write to a file that was removed, but no other process would read it. This check costs two microseconds. */
  #fileIdentity(): string | undefined {
    if (this.path === undefined) return undefined
    const file = statSync(this.path, { throwIfNoEntry: false })
    return file && `${file.dev}:${file.ino}`
  }
}

/** An open queue file with its statements, its transactions and its wake file. A broker and its consumers share one. */
import { statSync } from 'node:fs'
import type { Driver } from './driver.ts'
import { closed, fileLost } from './errors.ts'
import type { Location } from './options.ts'
import { busyRetry } from './busy-retry.ts'
import { Room } from './room.ts'
import { Sql } from './sql.ts'
import { openStorage, type Storage } from './storage.ts'
import { Transactions } from './transactions.ts'
import { WakeFile } from './wake-file.ts'

export class Database {
  readonly wakeFile: WakeFile
  /** The file's path; absent in memory. */
  readonly path: string | undefined
  readonly #storage: Storage
  readonly #sql: Sql
  readonly #transactions: Transactions
  readonly #queueIds = new Map<string, number>()
  readonly #queueNames = new Map<number, string>()
  readonly #identity: string | undefined
  #mode: 'open' | 'lost' | 'closed' = 'open'

  static async open(location: Location, driver: Driver, create: boolean): Promise<Database> {
    return new Database(await openStorage(location, driver, create))
  }

  private constructor(storage: Storage) {
    this.#storage = storage
    this.path = storage.path
    this.wakeFile = new WakeFile(storage.path ?? ':memory:', storage.path && `${storage.path}-wake`)
    this.#sql = new Sql(storage.connection)
    this.#identity = this.#fileIdentity()
    const room = storage.path === undefined ? undefined : new Room(storage.path, this.#sql)
    this.#transactions = new Transactions(storage.connection, this.#sql, {
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
    return busyRetry(() => {
      this.#assertUsable()
      return work(this.#sql)
    })
  }

  /**
   * Runs `work` in a transaction, together with all other work of the same moment, and resolves to its result once that is on
   * the disk. If the transaction is rolled back, `work` may run again, so it must change nothing but the database.
   * `jobBytes` is the size of the jobs that it stores. If the disk is nearly full, they are refused, so that workers can still
   * remove jobs.
   */
  async write<T>(work: (sql: Sql) => T, jobBytes = 0): Promise<T> {
    this.#assertUsable()
    return this.#transactions.run(work, jobBytes)
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
    await this.#transactions.idle()
    if (this.#mode === 'open') this.#mode = 'closed'
    if (this.path !== undefined) this.#storage.connection.close()
    this.wakeFile.close()
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

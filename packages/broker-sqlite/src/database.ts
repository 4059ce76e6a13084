/** An open queue file: its statements, its one writer at a time, its wake-up signal. A broker has one; its consumers share it. */
import { statSync } from 'node:fs'
import { BrokerError } from '@zyqueue/core/broker'
import type { Driver } from './driver.ts'
import { closed } from './errors.ts'
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
      // A queue that was made in the transaction is not there.
      rolledBack: () => this.#queueIds.clear(),
    })
  }

  /** Whether it can still be used: open, and its file where it was. */
  get usable(): boolean {
    if (this.#mode === 'open' && this.#identity !== this.#fileIdentity()) this.#mode = 'lost'
    return this.#mode === 'open'
  }

  /** Whether its file is no longer where it was: what was in it is gone for everybody. */
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
   * the disk. `work` may be run again where the transaction it was in was rolled back, so it touches nothing but the database.
   * `jobBytes` is the size of the jobs that it stores: they are refused while a full disk has room for nothing but their removal.
   */
  async write<T>(work: (sql: Sql) => T, jobBytes = 0): Promise<T> {
    this.#assertUsable()
    return this.#transactions.run(work, jobBytes)
  }

  /** The id of a queue, or undefined where there is none of that name. Part of a read or a write. */
  findQueue(sql: Sql, name: string): number | undefined {
    const known = this.#queueIds.get(name)
    if (known !== undefined) return known
    const id = sql.first('SELECT id FROM queue WHERE name = ?1', name)?.[0]
    if (typeof id !== 'number') return undefined
    this.#queueIds.set(name, id)
    this.#queueNames.set(id, name)
    return id
  }

  /** The name of a queue whose id was looked up by this database. */
  queueName(id: number): string {
    const name = this.#queueNames.get(id)
    if (name === undefined) throw new Error(`No queue ${id} was looked up`)
    return name
  }

  /** The id of a queue, which is made where there is none. Part of a write. */
  queueId(sql: Sql, name: string): number {
    const known = this.findQueue(sql, name)
    if (known !== undefined) return known
    sql.run('INSERT INTO queue (name) VALUES (?1)', name)
    return this.queueId(sql, name)
  }

  /** Finishes the writes that were begun, then lets go of the file. Idempotent. */
  async close(): Promise<void> {
    await this.#transactions.idle()
    if (this.#mode === 'open') this.#mode = 'closed'
    if (this.path !== undefined) this.#storage.connection.close()
    this.wakeFile.close()
  }

  #assertUsable(): void {
    if (this.usable) return
    if (this.#mode === 'closed') throw closed()
    throw new BrokerError('ZYQ_CONNECTION_LOST', `The queue file was removed or replaced: ${this.path}`)
  }

  /** A queue file that was removed can still be written to, and nobody would ever read it. Asking costs two microseconds. */
  #fileIdentity(): string | undefined {
    if (this.path === undefined) return undefined
    const file = statSync(this.path, { throwIfNoEntry: false })
    return file && `${file.dev}:${file.ino}`
  }
}

/**
 * Group commit: all work of the same turn of the event loop (publishes, settlements, claims) shares one transaction, and so one
 * disk flush. One process writes at a time. The others try again every one to two ms, and gather more work meanwhile.
 */
import { BrokerError } from '@zyqueue/core/broker'
import type { Connection } from './driver.ts'
import { isBusy, SQLITE, sqliteCode } from './errors.ts'
import { pause, BUSY_TIMEOUT_MS, stillBusy } from './busy-retry.ts'
import { rollback } from './schema.ts'
import type { Sql } from './sql.ts'

interface Entry {
  /** Runs the work, and returns the function that resolves its promise after the commit. */
  readonly run: () => () => void
  readonly reject: (error: unknown) => void
  readonly until: number
  /** The size of the jobs that it stores. */
  readonly jobBytes: number
}

type Outcome =
  | { readonly status: 'committed' }
  /** Another process holds the lock. Nothing was changed. */
  | { readonly status: 'busy'; readonly error: unknown }
  /** Rolled back. */
  | { readonly status: 'failed'; readonly error: unknown }
  /** The disk failed during the commit: the change may be in the file or not. */
  | { readonly status: 'unknown'; readonly error: unknown }

export interface TransactionHooks {
  /** Called before each transaction, with the bytes of the jobs that it stores. If it throws, the transaction fails with that error. */
  readonly before: (jobBytes: number) => void
  /** Called when the disk is full. Returns true if there may be room now. */
  readonly makeRoom: () => boolean
  readonly rolledBack: () => void
}

export class Transactions {
  readonly #connection: Connection
  readonly #sql: Sql
  readonly #hooks: TransactionHooks
  /** Work that shares the next transaction. */
  #together: Entry[] = []
  /** Work of a transaction that failed. Each gets a transaction of its own, so that one error does not fail the others. */
  #alone: Entry[] = []
  #writing: Promise<void> | undefined

  constructor(connection: Connection, sql: Sql, hooks: TransactionHooks) {
    this.#connection = connection
    this.#sql = sql
    this.#hooks = hooks
  }

  run<T>(work: (sql: Sql) => T, jobBytes = 0): Promise<T> {
    return new Promise((resolve, reject) => {
      const run = (): (() => void) => {
        const result = work(this.#sql)
        return () => resolve(result)
      }
      this.#together.push({ run, reject, until: performance.now() + BUSY_TIMEOUT_MS, jobBytes })
      this.#writing ??= this.#write()
    })
  }

  /** Resolves when all pending work has settled. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
  }

  /** Writes until no work waits. Never rejects. */
  async #write(): Promise<void> {
    // Work that comes in the rest of this turn of the event loop shares the transaction.
    await new Promise((resolve) => setImmediate(resolve))
    for (let entries = this.#next(); entries.length > 0; entries = this.#next()) {
      const outcome = this.#attempt(entries)
      if (outcome.status === 'busy') {
        this.#giveUpOn(outcome.error)
        await pause()
        continue
      }
      if (this.#alone.length > 0) this.#alone.shift()
      else this.#together = []
      if (outcome.status === 'committed') continue
      if (outcome.status === 'failed' && entries.length > 1) this.#alone = [...entries]
      else for (const entry of entries) entry.reject(outcome.error)
    }
    this.#writing = undefined
  }

  #next(): readonly Entry[] {
    return this.#alone.length > 0 ? this.#alone.slice(0, 1) : this.#together
  }

  #attempt(entries: readonly Entry[]): Outcome {
    const outcome = this.#attemptOnce(entries)
    const isFull = outcome.status === 'failed' && sqliteCode(outcome.error) === SQLITE.FULL
    return isFull && this.#hooks.makeRoom() ? this.#attemptOnce(entries) : outcome
  }

  /** Synchronous from BEGIN to COMMIT, so no other code of this process runs in between. */
  #attemptOnce(entries: readonly Entry[]): Outcome {
    try {
      this.#hooks.before(entries.reduce((sum, { jobBytes }) => sum + jobBytes, 0))
      this.#sql.run('BEGIN IMMEDIATE')
    } catch (error) {
      return { status: isBusy(error) ? 'busy' : 'failed', error }
    }
    let committing = false
    try {
      const results = entries.map((entry) => entry.run())
      committing = true
      this.#sql.run('COMMIT')
      for (const resolve of results) resolve()
      return { status: 'committed' }
    } catch (error) {
      rollback(this.#connection)
      this.#hooks.rolledBack()
      // Without WAL a commit waits for readers.
      if (isBusy(error)) return { status: 'busy', error }
      if (!(committing && sqliteCode(error) === SQLITE.IOERR)) return { status: 'failed', error }
      const message = 'The disk failed while the queue file was written; whether it holds the change is unknown'
      return { status: 'unknown', error: new BrokerError('ZYQ_OUTCOME_UNKNOWN', message, { cause: error }) }
    }
  }

  #giveUpOn(error: unknown): void {
    const now = performance.now()
    const [alone, together] = [this.#alone, this.#together]
    this.#alone = alone.filter(({ until }) => until > now)
    this.#together = together.filter(({ until }) => until > now)
    for (const { until, reject } of [...alone, ...together]) if (until <= now) reject(stillBusy(error))
  }
}

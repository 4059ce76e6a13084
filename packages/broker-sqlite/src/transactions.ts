/**
 * Group commit: all work that arrives in the same moment (publishes, settlements, claims) shares one transaction, and so one
 * flush of the disk. Of several processes one writes at a time; the others ask again each millisecond or two, and gather more meanwhile.
 */
import { BrokerError } from '@zyqueue/core/broker'
import type { Connection } from './driver.ts'
import { isBusy, SQLITE, sqliteCode } from './errors.ts'
import { pause, PATIENCE_MS, stillBusy } from './busy-retry.ts'
import { rollback } from './schema.ts'
import type { Sql } from './sql.ts'

interface Entry {
  /** Runs the work, and returns how its promise is resolved once the transaction stands. */
  readonly run: () => () => void
  readonly reject: (error: unknown) => void
  readonly until: number
  /** Of the jobs that it stores. */
  readonly jobBytes: number
}

type Outcome =
  | { readonly status: 'committed' }
  /** Another process is in the way; nothing was changed. */
  | { readonly status: 'busy'; readonly error: unknown }
  /** Rolled back. */
  | { readonly status: 'failed'; readonly error: unknown }
  /** The disk failed in the commit: the next to open the file may find it there, or not. */
  | { readonly status: 'unknown'; readonly error: unknown }

export interface TransactionHooks {
  /** Called before each transaction, with the bytes of the jobs that it stores. What it throws is why the transaction failed. */
  readonly before: (jobBytes: number) => void
  /** Called when the disk was full. Returns whether there may be room now. */
  readonly makeRoom: () => boolean
  readonly rolledBack: () => void
}

export class Transactions {
  readonly #connection: Connection
  readonly #sql: Sql
  readonly #hooks: TransactionHooks
  /** Shares the next transaction. */
  #together: Entry[] = []
  /** Was in one that failed: each gets its own, so that the one at fault does not fail the others. */
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
      this.#together.push({ run, reject, until: performance.now() + PATIENCE_MS, jobBytes })
      this.#writing ??= this.#write()
    })
  }

  /** Resolves when all work that was given has settled. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
  }

  /** Writes until nothing waits. Never rejects. */
  async #write(): Promise<void> {
    // What is left of this turn of the event loop is the moment that shares a transaction.
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

  /** Synchronous from BEGIN to COMMIT: nothing else of this process comes between. */
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

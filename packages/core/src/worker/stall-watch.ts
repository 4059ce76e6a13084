import type { Connection } from '../connection/connection.ts'
import type { Logger } from '../logger.ts'

/** The lower bound for an unanswered `receive`, which takes a second if no job comes. */
const MIN_ANSWER_MS = 2_000

interface StallWatchOptions {
  readonly connection: Connection
  readonly queues: ReadonlySet<string>
  /** A consumer that receives nothing for this time, in ms, may be stalled. */
  readonly stallMs: number
  readonly log: Logger
  /** True if the worker can start a job now. */
  readonly hasFreeSlot: () => boolean
  readonly onStall: () => void
}

/**
 * Detects a stalled consumer: its `receive` does not return, or it returns nothing although the broker reports ready jobs
 * in two checks in a row.
 */
export class StallWatch {
  readonly #options: StallWatchOptions
  #timer: NodeJS.Timeout | undefined
  /** The start of the pending `receive`. */
  #receivingSince: number | undefined
  /** The start of the first `receive` since the last delivery. */
  #emptySince: number | undefined
  #stallCount = 0
  #checkedAt = performance.now()

  constructor(options: StallWatchOptions) {
    this.#options = options
  }

  start(): void {
    this.#checkedAt = performance.now()
    this.#timer = setInterval(() => void this.#check(), this.#options.stallMs / 2)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.reset()
  }

  noteReceive(): void {
    this.#receivingSince = performance.now()
    this.#emptySince ??= this.#receivingSince
  }

  noteDeliveries(count: number): void {
    this.#receivingSince = undefined
    if (count > 0) this.reset()
  }

  /** Must be called if the connection is lost. */
  reset(): void {
    this.#receivingSince = undefined
    this.#emptySince = undefined
    this.#stallCount = 0
  }

  async #check(): Promise<void> {
    const { stallMs, hasFreeSlot, log } = this.#options
    const now = performance.now()
    const sinceCheck = now - this.#checkedAt
    this.#checkedAt = now
    // The process was blocked or frozen: deliveries that arrived meanwhile are not read yet.
    if (sinceCheck > stallMs * 0.75) return this.#restart(now)
    if (!hasFreeSlot()) return
    if (this.#receivingSince !== undefined && now - this.#receivingSince > Math.max(stallMs, MIN_ANSWER_MS)) {
      log.warn({ stallMs }, 'consumer does not answer: replacing it')
      return this.#reportStall()
    }
    const emptySince = this.#emptySince
    if (emptySince === undefined || now - emptySince < stallMs || !(await this.#jobsAreReady())) {
      this.#stallCount = 0
      return
    }
    // Another worker may have taken the jobs that the first check saw, or this worker during the check.
    if (this.#emptySince !== emptySince || ++this.#stallCount < 2) return
    log.warn({ stallMs }, 'jobs are ready but the consumer receives none: replacing it')
    this.#reportStall()
  }

  async #jobsAreReady(): Promise<boolean> {
    const { connection, queues, log } = this.#options
    try {
      const stats = await connection.broker.admin.queues([...queues])
      return stats.some(({ name, ready = 0 }) => queues.has(name) && ready > 0)
    } catch (error) {
      log.debug({ err: connection.wrap(error) }, 'cannot read the queues')
      return false
    }
  }

  #reportStall(): void {
    this.reset()
    this.#options.onStall()
  }

  /** Restarts all measured times at `now`. */
  #restart(now: number): void {
    this.#stallCount = 0
    if (this.#receivingSince !== undefined) this.#receivingSince = now
    if (this.#emptySince !== undefined) this.#emptySince = now
  }
}

import type { Connection } from '../connection/connection.ts'
import type { Logger } from '../logger.ts'

/** `receive` takes a second if no job comes. */
const MIN_ANSWER_MS = 2_000

interface StallWatchOptions {
  readonly connection: Connection
  readonly queues: ReadonlySet<string>
  /** The silence, in ms, after which it checks for a stall. */
  readonly stallMs: number
  readonly log: Logger
  /** Whether the worker could start a job now. */
  readonly hasFreeSlot: () => boolean
  readonly onStall: () => void
}

/**
 * Notices a consumer that is up, connected and idle while work waits: one whose `receive` does not come back, or comes
 * back with nothing although the broker says, twice in a row, that jobs are ready.
 */
export class StallWatch {
  readonly #options: StallWatchOptions
  #timer: NodeJS.Timeout | undefined
  /** When the call of `receive` began that is under way. */
  #receivingSince: number | undefined
  /** When the loop asked for jobs and has had none since. */
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

  /** What was, says nothing of what is to come: jobs have come, or the connection is known to be lost. */
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
    // A handler blocked this process, or something froze it: nothing could come meanwhile, and what has is yet to be read.
    if (sinceCheck > stallMs * 0.75) return this.#restart(now)
    if (!hasFreeSlot()) return
    if (this.#receivingSince !== undefined && now - this.#receivingSince > Math.max(stallMs, MIN_ANSWER_MS)) {
      log.warn({ stallMs }, 'the consumer does not answer: it is replaced')
      return this.#reportStall()
    }
    const emptySince = this.#emptySince
    if (emptySince === undefined || now - emptySince < stallMs || !(await this.#jobsAreReady())) {
      this.#stallCount = 0
      return
    }
    // Another worker may have taken what the first look saw, or this one while it was looking.
    if (this.#emptySince !== emptySince || ++this.#stallCount < 2) return
    log.warn({ stallMs }, 'work waits and the consumer takes none: it is replaced')
    this.#reportStall()
  }

  async #jobsAreReady(): Promise<boolean> {
    const { connection, queues, log } = this.#options
    try {
      const stats = await connection.broker.admin.queues([...queues])
      return stats.some(({ name, ready = 0 }) => queues.has(name) && ready > 0)
    } catch (error) {
      log.debug({ err: connection.wrap(error) }, 'could not look at the queues')
      return false
    }
  }

  #reportStall(): void {
    this.reset()
    this.#options.onStall()
  }

  /** Counts from now on what has been waited for so far. */
  #restart(now: number): void {
    this.#stallCount = 0
    if (this.#receivingSince !== undefined) this.#receivingSince = now
    if (this.#emptySince !== undefined) this.#emptySince = now
  }
}

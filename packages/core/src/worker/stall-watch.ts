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
  #askedAt: number | undefined
  /** When the loop asked for jobs and has had none since. */
  #hungryAt: number | undefined
  #suspicions = 0
  #lookedAt = performance.now()

  constructor(options: StallWatchOptions) {
    this.#options = options
  }

  start(): void {
    this.#lookedAt = performance.now()
    this.#timer = setInterval(() => void this.#look(), this.#options.stallMs / 2)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.forget()
  }

  asked(): void {
    this.#askedAt = performance.now()
    this.#hungryAt ??= this.#askedAt
  }

  answered(count: number): void {
    this.#askedAt = undefined
    if (count > 0) this.forget()
  }

  /** What was, says nothing of what is to come: jobs have come, or the connection is known to be lost. */
  forget(): void {
    this.#askedAt = undefined
    this.#hungryAt = undefined
    this.#suspicions = 0
  }

  async #look(): Promise<void> {
    const { stallMs, hasFreeSlot, log } = this.#options
    const now = performance.now()
    const sinceLook = now - this.#lookedAt
    this.#lookedAt = now
    // A handler blocked this process, or something froze it: nothing could come meanwhile, and what has is yet to be read.
    if (sinceLook > stallMs * 0.75) return this.#beginAnew(now)
    if (!hasFreeSlot()) return
    if (this.#askedAt !== undefined && now - this.#askedAt > Math.max(stallMs, MIN_ANSWER_MS)) {
      log.warn({ stallMs }, 'the consumer does not answer: it is replaced')
      return this.#stalled()
    }
    const hungryAt = this.#hungryAt
    if (hungryAt === undefined || now - hungryAt < stallMs || !(await this.#workWaits())) {
      this.#suspicions = 0
      return
    }
    // Another worker may have taken what the first look saw, or this one while it was looking.
    if (this.#hungryAt !== hungryAt || ++this.#suspicions < 2) return
    log.warn({ stallMs }, 'work waits and the consumer takes none: it is replaced')
    this.#stalled()
  }

  async #workWaits(): Promise<boolean> {
    const { connection, queues, log } = this.#options
    try {
      const stats = await connection.broker.admin.queues([...queues])
      return stats.some(({ name, ready = 0 }) => queues.has(name) && ready > 0)
    } catch (error) {
      log.debug({ err: connection.wrap(error) }, 'could not look at the queues')
      return false
    }
  }

  #stalled(): void {
    this.forget()
    this.#options.onStall()
  }

  /** Counts from now on what has been waited for so far. */
  #beginAnew(now: number): void {
    this.#suspicions = 0
    if (this.#askedAt !== undefined) this.#askedAt = now
    if (this.#hungryAt !== undefined) this.#hungryAt = now
  }
}

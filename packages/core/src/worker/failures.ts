import { isConnectionLoss } from '../connection/connection.ts'
import type { ZyQueueError } from '../errors.ts'

/** A failure is lasting after this many times `stallMs` and `MIN_FAILURES` failures. */
const MAX_STALLS = 2
const MIN_FAILURES = 5
/** The first failure is logged, the fourth, the sixteenth, … */
const LOG_FACTOR = 4

/** True if the broker is unavailable or overloaded. */
export function isOutage(error: ZyQueueError): boolean {
  return isConnectionLoss(error) || error.code === 'ZYQ_BROKER_BUSY'
}

/** Counts the failures of a consumer. */
export class Failures {
  /** Failures are lasting after this many ms. */
  readonly lastsAfterMs: number
  readonly #stallMs: number
  /** All failures, until the consumer receives and none occurs for `stallMs`. */
  #count = 0
  #since = 0
  #lastAt = 0
  #nextLogAt = 1
  #loggedLasting = false
  /** Failures since the last successful receive. */
  #streak = 0
  /** Failures since the last successful receive or outage. */
  #withoutOutage = { count: 0, since: 0 }

  constructor(stallMs: number) {
    this.#stallMs = stallMs
    this.lastsAfterMs = MAX_STALLS * stallMs
  }

  /** The number of failures since the last period of `stallMs` without one. The consumer may have received between them. */
  get count(): number {
    return this.#count
  }

  /** The number of failures since the last successful receive. */
  get streak(): number {
    return this.#streak
  }

  /** The age of the first failure in `count`, in ms. */
  get lastingMs(): number {
    return this.#count === 0 ? 0 : Math.round(performance.now() - this.#since)
  }

  /** True if the consumer has failed for so long without an outage that its connection or process should be replaced. */
  get isLasting(): boolean {
    const { count, since } = this.#withoutOutage
    return count >= MIN_FAILURES && performance.now() - since >= this.lastsAfterMs
  }

  /** Counts one failure. Returns true if it must be logged. */
  add(error: ZyQueueError): boolean {
    const now = performance.now()
    if (this.#streak === 0 && now - this.#lastAt >= this.#stallMs) {
      this.#count = 0
      this.#nextLogAt = 1
    }
    this.#lastAt = now
    if (this.#count++ === 0) this.#since = now
    this.#streak++
    if (isOutage(error) || error.code === 'ZYQ_BROKER_FULL') this.#withoutOutage = { count: 0, since: 0 }
    else if (this.#withoutOutage.count++ === 0) this.#withoutOutage.since = now
    return this.#logs()
  }

  /** Must be called after a successful receive. */
  clear(): void {
    this.#streak = 0
    this.#withoutOutage = { count: 0, since: 0 }
  }

  /** True at growing intervals, and once when the failure becomes lasting. */
  #logs(): boolean {
    const turnsLasting = this.isLasting && !this.#loggedLasting
    this.#loggedLasting = this.isLasting
    if (this.#count < this.#nextLogAt) return turnsLasting
    this.#nextLogAt *= LOG_FACTOR
    return true
  }
}

import { isConnectionLoss } from '../connection/connection.ts'
import type { ZyQueueError } from '../errors.ts'

/** For how many times `stallMs` a consumer must have failed, and how often, until its failure is lasting. */
const MAX_STALLS = 2
const MIN_FAILURES = 5
/** The first failure is logged, the fourth, the sixteenth, … */
const LOG_FACTOR = 4

/** Whether only the broker can help: it is away, or has too much to do. */
export function isOutage(error: ZyQueueError): boolean {
  return isConnectionLoss(error) || error.code === 'ZYQ_BROKER_BUSY'
}

/** How a consumer has failed. */
export class Failures {
  /** Failures are lasting after this many ms. */
  readonly lastsAfterMs: number
  readonly #stallMs: number
  /** All, until the consumer receives and there is none for `stallMs`. */
  #count = 0
  #since = 0
  #lastAt = 0
  #nextLogAt = 1
  #loggedLasting = false
  /** Those since it received the last time. */
  #streak = 0
  /** Those of them since the last outage. */
  #withoutOutage = { count: 0, since: 0 }

  constructor(stallMs: number) {
    this.#stallMs = stallMs
    this.lastsAfterMs = MAX_STALLS * stallMs
  }

  /** How many there have been since the consumer last went without one for `stallMs`. It may have received between them. */
  get count(): number {
    return this.#count
  }

  /** How many there have been since the consumer received the last time. */
  get streak(): number {
    return this.#streak
  }

  /** How long ago the first of `count` was, in ms. */
  get lastingMs(): number {
    return this.#count === 0 ? 0 : Math.round(performance.now() - this.#since)
  }

  /** Whether the consumer has received nothing for so long, without an outage that explains it, that another should try. */
  get isLasting(): boolean {
    const { count, since } = this.#withoutOutage
    return count >= MIN_FAILURES && performance.now() - since >= this.lastsAfterMs
  }

  /** Takes note of one more; returns whether to log it. */
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

  /** The consumer has received. */
  clear(): void {
    this.#streak = 0
    this.#withoutOutage = { count: 0, since: 0 }
  }

  /** At growing intervals, and once when they have become lasting. */
  #logs(): boolean {
    const turnsLasting = this.isLasting && !this.#loggedLasting
    this.#loggedLasting = this.isLasting
    if (this.#count < this.#nextLogAt) return turnsLasting
    this.#nextLogAt *= LOG_FACTOR
    return true
  }
}

import { isConnectionLoss } from '../connection/connection.ts'
import type { ZyQueueError } from '../errors.ts'

/** For how many stalls in a row a consumer may fail, and how often it must have, before its worker ends. */
const MAX_STALLS = 2
const MIN_FAILURES = 5
/** The first failure is logged, the fourth, the sixteenth, … */
const LOG_FACTOR = 4

/** Whether only the broker can help: it is away, or has too much to do. */
export function isOutage(error: ZyQueueError): boolean {
  return isConnectionLoss(error) || error.code === 'ZYQ_BROKER_BUSY'
}

/** How a consumer has failed since it received the last time. */
export class Failures {
  readonly #stallMs: number
  #count = 0
  #since = 0
  #nextLogAt = 1
  /** Those since the last outage. */
  #own = { count: 0, since: 0 }

  constructor(stallMs: number) {
    this.#stallMs = stallMs
  }

  get count(): number {
    return this.#count
  }

  /** How long ago the first was, in ms. */
  get lastingMs(): number {
    return this.#count === 0 ? 0 : Math.round(performance.now() - this.#since)
  }

  /** Whether they have gone on for so long, without an outage that explains them, that another process should try. */
  get isLasting(): boolean {
    const { count, since } = this.#own
    return count >= MIN_FAILURES && performance.now() - since >= MAX_STALLS * this.#stallMs
  }

  /** Takes note of one more; returns whether to log it. */
  add(error: ZyQueueError): boolean {
    const now = performance.now()
    if (this.#count++ === 0) this.#since = now
    if (isOutage(error) || error.code === 'ZYQ_BROKER_FULL') this.#own = { count: 0, since: 0 }
    else if (this.#own.count++ === 0) this.#own.since = now
    if (this.#count < this.#nextLogAt) return false
    this.#nextLogAt *= LOG_FACTOR
    return true
  }

  /** The consumer has received. */
  clear(): void {
    this.#count = 0
    this.#nextLogAt = 1
    this.#own = { count: 0, since: 0 }
  }
}

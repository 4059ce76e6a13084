/** How much work to prefetch, in ms: enough to hide a round trip, and not so much that other workers are idle. */
const HORIZON_MS = 100
const MAX_PREFETCH = 500
/** Weight of the newest job in the mean. */
const NEWEST = 0.05

/**
 * The number of jobs that a worker holds: a fixed number, or the number that it completes in 100 ms, estimated from the mean
 * duration. A worker with long jobs holds few, and a worker with short jobs receives batches.
 */
export class Prefetch {
  readonly #fixed: number | undefined
  readonly #concurrency: number
  #meanMs: number | undefined

  constructor(concurrency: number, fixed: number | undefined) {
    this.#concurrency = concurrency
    this.#fixed = fixed
  }

  /** The upper bound of `limit`. */
  get ceiling(): number {
    return this.#fixed ?? Math.max(MAX_PREFETCH, this.#concurrency)
  }

  get limit(): number {
    if (this.#fixed !== undefined) return this.#fixed
    if (this.#meanMs === undefined) return this.#concurrency
    const worth = Math.ceil((this.#concurrency * HORIZON_MS) / Math.max(this.#meanMs, 0.001))
    return Math.min(Math.max(worth, this.#concurrency), this.ceiling)
  }

  /** Adds the duration of a job to the mean. */
  note(ms: number): void {
    this.#meanMs = this.#meanMs === undefined ? ms : this.#meanMs + (ms - this.#meanMs) * NEWEST
  }
}

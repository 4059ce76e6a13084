/** How much work to keep at hand, in ms of it: enough to hide a round trip, not so much that a neighbour starves. */
const HORIZON_MS = 100
const MAX_PREFETCH = 500
/** Weight of the newest job in the mean. */
const NEWEST = 0.05

/**
 * How many jobs a worker holds: a fixed number, or as many as it does in a tenth of a second, by how long they have been
 * taking. Long jobs are not hoarded, and short ones come in batches.
 */
export class Prefetch {
  readonly #fixed: number | undefined
  readonly #concurrency: number
  #meanMs: number | undefined

  constructor(concurrency: number, fixed: number | undefined) {
    this.#concurrency = concurrency
    this.#fixed = fixed
  }

  /** The most that a limit can become. */
  get ceiling(): number {
    return this.#fixed ?? Math.max(MAX_PREFETCH, this.#concurrency)
  }

  get limit(): number {
    if (this.#fixed !== undefined) return this.#fixed
    if (this.#meanMs === undefined) return this.#concurrency
    const worth = Math.ceil((this.#concurrency * HORIZON_MS) / Math.max(this.#meanMs, 0.001))
    return Math.min(Math.max(worth, this.#concurrency), this.ceiling)
  }

  /** Takes note of how long a job took. */
  note(ms: number): void {
    this.#meanMs = this.#meanMs === undefined ? ms : this.#meanMs + (ms - this.#meanMs) * NEWEST
  }
}

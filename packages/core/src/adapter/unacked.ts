import type { Delivery } from '../contract/message.ts'

interface Entry<Held> {
  readonly held: Held
  isSettling: boolean
}

/** The unsettled deliveries of a consumer, with what the adapter keeps for each. Settling any other is `lease-lost`. */
export class Unacked<Held> {
  readonly #entries = new Map<Delivery, Entry<Held>>()

  get size(): number {
    return this.#entries.size
  }

  /** Those whose settlement is pending, too: they count for the prefetch, and their timeouts must be extended. */
  *[Symbol.iterator](): Iterator<readonly [Delivery, Held]> {
    for (const [delivery, { held }] of this.#entries) yield [delivery, held]
  }

  get(delivery: Delivery): Held | undefined {
    return this.#entries.get(delivery)?.held
  }

  add(delivery: Delivery, held: Held): void {
    this.#entries.set(delivery, { held, isSettling: false })
  }

  /** Begins a settlement. `undefined` if the delivery is not held, or its settlement is pending. */
  take(delivery: Delivery): Held | undefined {
    const entry = this.#entries.get(delivery)
    if (entry === undefined || entry.isSettling) return undefined
    entry.isSettling = true
    return entry.held
  }

  /** The settlement failed: it may be repeated. */
  putBack(delivery: Delivery): void {
    const entry = this.#entries.get(delivery)
    if (entry !== undefined) entry.isSettling = false
  }

  delete(delivery: Delivery): void {
    this.#entries.delete(delivery)
  }

  clear(): void {
    this.#entries.clear()
  }
}

import type { Delivery } from '../contract/message.ts'

interface Entry<Held> {
  readonly held: Held
  isSettling: boolean
}

/**
 * The deliveries that a consumer holds, each with what the adapter needs to settle it. A delivery that is not in here was
 * settled, or its lease has ended: to settle it again is `lease-lost`.
 */
export class Unacked<Held> {
  readonly #entries = new Map<Delivery, Entry<Held>>()

  /** How many there are, including those whose settlement has no answer yet: these still fill the prefetch. */
  get size(): number {
    return this.#entries.size
  }

  /** All of them, those whose settlement has no answer yet too: their timeouts must be extended. */
  *[Symbol.iterator](): Iterator<readonly [Delivery, Held]> {
    for (const [delivery, { held }] of this.#entries) yield [delivery, held]
  }

  get(delivery: Delivery): Held | undefined {
    return this.#entries.get(delivery)?.held
  }

  add(delivery: Delivery, held: Held): void {
    this.#entries.set(delivery, { held, isSettling: false })
  }

  /** Begins to settle a delivery. `undefined` if it is not held, or is being settled already. */
  take(delivery: Delivery): Held | undefined {
    const entry = this.#entries.get(delivery)
    if (entry === undefined || entry.isSettling) return undefined
    entry.isSettling = true
    return entry.held
  }

  /** The settlement failed: the delivery may be settled again, unless it was deleted meanwhile. */
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

/** Runs many at once, or one alone, in the order in which they came. */
export class SharedLock {
  /** The last that runs alone. It never rejects. */
  #alone: Promise<unknown> = Promise.resolve()
  /** Those that came after it. */
  #together: Promise<unknown>[] = []

  /** Runs beside the others that are run so. Settles as it does. */
  runShared(run: () => Promise<void>): Promise<void> {
    const running = this.#alone.then(run)
    this.#together.push(running)
    return running
  }

  /** Runs when all that came before have ended; what comes later waits for it. Settles as it does. */
  runExclusive(run: () => Promise<void>): Promise<void> {
    const running = Promise.allSettled([this.#alone, ...this.#together]).then(run)
    this.#together = []
    this.#alone = running.catch(() => undefined)
    return running
  }
}

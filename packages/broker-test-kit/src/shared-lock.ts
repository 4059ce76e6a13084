/** A lock that many functions share or one holds alone. Functions run in the order of their calls. */
export class SharedLock {
  /** The latest exclusive run. It never rejects. */
  #exclusive: Promise<unknown> = Promise.resolve()
  /** The shared runs that were requested after it. */
  #shared: Promise<unknown>[] = []

  /** Runs concurrently with other shared runs. Settles as `run` does. */
  runShared(run: () => Promise<void>): Promise<void> {
    const running = this.#exclusive.then(run)
    this.#shared.push(running)
    return running
  }

  /** Runs after all earlier runs have ended. Later runs wait for it. Settles as `run` does. */
  runExclusive(run: () => Promise<void>): Promise<void> {
    const running = Promise.allSettled([this.#exclusive, ...this.#shared]).then(run)
    this.#shared = []
    this.#exclusive = running.catch(() => undefined)
    return running
  }
}

/** Wakes one waiter. A notification without a waiter ends the next wait, so that a change between a check and the wait is not missed. */
export class Notifier {
  #notified = false
  #resolve: () => void = () => {}

  notify(): void {
    this.#notified = true
    this.#resolve()
  }

  /** Resolves when notified, or after `ms` (below 2³¹). */
  async wait(ms: number): Promise<void> {
    if (!this.#notified) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms).unref()
        this.#resolve = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#notified = false
  }
}

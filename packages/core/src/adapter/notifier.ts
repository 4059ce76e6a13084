/**
 * A wake-up signal for one waiter. A notification that comes while there is no waiter ends the next wait at once, so a change
 * between a look and the wait after it is not missed.
 */
export class Notifier {
  #notified = false
  #resolve: () => void = () => {}

  /** Ends the current wait, or the next one. */
  notify(): void {
    this.#notified = true
    this.#resolve()
  }

  /** Resolves at the next notification, or after `ms` milliseconds (less than 2³¹). Does not keep the process alive. */
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

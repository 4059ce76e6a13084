/**
 * For a consumer that waits: lets one waiter pause until someone rings; one at a time, as `receive` is called. A ring that
 * comes while nobody waits ends the next pause at once, so that what happens between a look and the pause behind it is not missed.
 */
export class Bell {
  #rung = false
  #resolve: () => void = () => {}

  /** Something has changed: have the waiter look again. */
  ring(): void {
    this.#rung = true
    this.#resolve()
  }

  /** Resolves at the next ring, or after `ms` milliseconds, less than 2³¹. Does not keep the process alive. */
  async wait(ms: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms).unref()
        this.#resolve = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#rung = false
  }
}

/** Lets one waiter pause until someone rings. A ring that comes while nobody waits ends the next pause at once. */
export class Bell {
  #rung = false
  #resolve: () => void = () => {}

  ring(): void {
    this.#rung = true
    this.#resolve()
  }

  /** Resolves at the next ring, or after `milliseconds`. Does not keep the process alive. */
  async wait(milliseconds: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, milliseconds).unref()
        this.#resolve = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#rung = false
  }
}

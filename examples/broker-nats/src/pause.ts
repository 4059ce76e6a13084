/** A wait that ends when it is woken, or was since it was armed. */
export class Pause {
  #woken = false
  #end: (() => void) | undefined

  /** Before the look: what wakes after it is not missed. */
  arm(): void {
    this.#woken = false
  }

  wake(): void {
    this.#woken = true
    this.#end?.()
  }

  async wait(ms: number): Promise<void> {
    if (this.#woken) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms).unref()
      this.#end = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#end = undefined
  }
}

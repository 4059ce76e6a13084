/** Notes whether the timers of this process came late, as those of an adapter then do too. */
export class LagWatch {
  readonly #toleranceMs: number
  readonly #timer: NodeJS.Timeout
  #dueAt: number
  #isLate = false

  /** @param toleranceMs How many milliseconds late is not late yet. */
  constructor(toleranceMs: number) {
    this.#toleranceMs = toleranceMs
    this.#dueAt = performance.now() + toleranceMs
    this.#timer = setInterval(() => {
      this.#look()
      this.#dueAt = performance.now() + toleranceMs
    }, toleranceMs).unref()
  }

  isOnTime(): boolean {
    this.#look()
    return !this.#isLate
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    this.#isLate ||= performance.now() > this.#dueAt + this.#toleranceMs
  }
}

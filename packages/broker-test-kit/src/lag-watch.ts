/** Detects late timers in this process. If they are late, those of the adapter are late too. */
export class LagWatch {
  readonly #toleranceMs: number
  readonly #timer: NodeJS.Timeout
  #dueAt: number
  #isLate = false

  /** @param toleranceMs Timers that are late by fewer milliseconds count as on time. */
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

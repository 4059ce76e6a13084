const WIDTH = 40

/** Draws a bar on a terminal; elsewhere prints a line at each quarter. */
export class Progress {
  readonly #total: number
  readonly #terminal: boolean = process.stdout.isTTY
  readonly #startedAt: number = performance.now()
  #quarter = 0

  constructor(total: number) {
    this.#total = total
  }

  update(done: number): void {
    const share = Math.min(done / this.#total, 1)
    const figures = `${done.toLocaleString('en')} of ${this.#total.toLocaleString('en')} files`
    const quarter = Math.floor(share * 4)
    if (this.#terminal) {
      const filled = Math.round(share * WIDTH)
      const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(1)
      const bar = `\u001b[32m${'█'.repeat(filled)}\u001b[2m${'░'.repeat(WIDTH - filled)}\u001b[0m`
      process.stdout.write(`\r  ${bar}  ${figures}  ${seconds} s\u001b[K`)
    } else if (quarter > this.#quarter) process.stdout.write(`${figures}\n`)
    this.#quarter = quarter
  }

  end(): void {
    if (this.#terminal) process.stdout.write('\n')
  }
}

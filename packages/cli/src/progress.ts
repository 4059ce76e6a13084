import { clip } from './output.ts'

const WIDTH = 28
const REDRAW_MS = 100

/**
 * A line on standard error that shows the progress of a stream of jobs; prints nothing if standard error is not a terminal.
 * The total is unknown, so the bar shows which part of the jobs read so far is stored.
 */
export class Progress {
  readonly #startedAtMs = performance.now()
  #drawnAtMs = Number.NEGATIVE_INFINITY

  update(progress: { readonly submitted: number; readonly stored: number }): void {
    const now = performance.now()
    if (!process.stderr.isTTY || now - this.#drawnAtMs < REDRAW_MS) return
    this.#drawnAtMs = now
    this.#draw(progress)
  }

  /** Draws the final figures and ends the line. */
  end(progress: { readonly submitted: number; readonly stored: number }): void {
    if (!process.stderr.isTTY) return
    this.#draw(progress)
    process.stderr.write('\n')
  }

  #draw({ submitted, stored }: { readonly submitted: number; readonly stored: number }): void {
    const filled = Math.round((submitted === 0 ? 0 : stored / submitted) * WIDTH)
    const seconds = Math.max((performance.now() - this.#startedAtMs) / 1000, 0.001)
    const bar = '#'.repeat(filled) + '.'.repeat(WIDTH - filled)
    const rate = Math.round(stored / seconds).toLocaleString('en')
    const line = `[${bar}] ${stored.toLocaleString('en')} of ${submitted.toLocaleString('en')} stored, ${rate} jobs/s`
    // A line that is wider than the terminal could not be drawn over.
    process.stderr.write(`\r${clip(line, (process.stderr.columns ?? 80) - 1)}\u001b[K`)
  }
}

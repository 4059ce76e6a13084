const TURNS = 7

/**
 * Calls `onTimeout` after `ms`, unless the returned function is called before. Time in which the event loop is blocked
 * counts as one turn of several, because an answer may have arrived meanwhile.
 */
export function startTimeout(ms: number, onTimeout: () => void): () => void {
  let turns = 0
  const timer = setInterval(() => {
    if (++turns < TURNS) return
    clearInterval(timer)
    onTimeout()
  }, ms / TURNS)
  timer.unref()
  return () => clearInterval(timer)
}

export interface WatchdogOptions {
  /** The time between checks. */
  readonly turnMs: number
  /** This many silent checks in a row are a timeout. */
  readonly maxSilentTurns: () => number
  /** Changes when the peer sends: for instance bytes read. */
  readonly progress: () => number
  readonly isExpecting: () => boolean
  /** Called at each silent check before the last, for instance to send a ping. */
  readonly onSilentTurn?: (turns: number) => void
  /** Called once. */
  readonly onSilence: () => void
}

/** Detects a peer that owes an answer and sends nothing. Counts time as `startTimeout` does. */
export class Watchdog {
  readonly #options: WatchdogOptions
  readonly #timer: NodeJS.Timeout
  #progress: number
  #silentTurns = 0

  constructor(options: WatchdogOptions) {
    this.#options = options
    this.#progress = options.progress()
    this.#timer = setInterval(() => this.#check(), options.turnMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #check(): void {
    const { progress, isExpecting, maxSilentTurns, onSilentTurn, onSilence } = this.#options
    const before = this.#progress
    this.#progress = progress()
    if (this.#progress !== before || !isExpecting()) {
      this.#silentTurns = 0
      return
    }
    this.#silentTurns++
    if (this.#silentTurns < maxSilentTurns()) return onSilentTurn?.(this.#silentTurns)
    this.stop()
    onSilence()
  }
}

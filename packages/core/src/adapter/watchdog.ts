const TURNS = 7

/**
 * Calls `onTimeout` once after `ms` milliseconds, unless the returned function is called before.
 *
 * It counts turns of the event loop: while a handler blocks the loop, an answer may have come that nothing has read yet, and
 * all of that time counts as one turn. Does not keep the process alive.
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
  /** The time between two looks. */
  readonly turnMs: number
  /** How many looks in a row may find a silent peer. */
  readonly maxSilentTurns: () => number
  /** A number that changes whenever the peer shows life, such as the bytes read from its socket. */
  readonly progress: () => number
  /** Whether the peer owes an answer. If not, its silence does not count. */
  readonly isExpecting: () => boolean
  /** Called at each look that finds it silent, with their number in a row: for instance to ask the peer for an answer. */
  readonly onSilentTurn?: (turns: number) => void
  /** Called once, when it was silent for too long. The watchdog has stopped then. */
  readonly onSilence: () => void
}

/** Notices a peer that owes an answer and shows no life. Counts turns of the event loop, as `startTimeout` does. */
export class Watchdog {
  readonly #options: WatchdogOptions
  readonly #timer: NodeJS.Timeout
  #progress: number
  #silentTurns = 0

  constructor(options: WatchdogOptions) {
    this.#options = options
    this.#progress = options.progress()
    this.#timer = setInterval(() => this.#look(), options.turnMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
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

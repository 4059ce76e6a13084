import { BrokerError } from '@zyqueue/core/broker'

/** What is between a broker and an engine in memory: a connection that is open, lost, or cannot be had. */
export class MemoryConnection {
  #state: 'new' | 'open' | 'lost' | 'closed' = 'new'
  #reachable = true
  #leaked = 0
  #onAnswerLost: (() => void) | undefined
  #onLost: (() => unknown)[] = []
  readonly #underWay = new Set<AbortController>()

  get connections(): number {
    return (this.#state === 'open' ? 1 : 0) + this.#leaked
  }

  /** Opens one more connection, which stays. */
  leak(): void {
    this.#leaked += 1
  }

  connect(): void {
    if (!this.#reachable) throw new BrokerError('ZYQ_UNREACHABLE', 'The engine cannot be reached.')
    if (this.#state !== 'closed') this.#state = 'open'
  }

  /** Ends the connection, as the engine's end would. */
  lose(): void {
    if (this.#state === 'open') this.#state = 'lost'
    for (const call of this.#underWay) call.abort()
    for (const listener of this.#onLost.splice(0)) listener()
  }

  /** Ends the connection, and lets no other be made. */
  cut(): void {
    this.#reachable = false
    this.lose()
  }

  heal(): void {
    this.#reachable = true
  }

  /** Loses the connection when the next call has reached the engine; resolves then. */
  loseAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.#onAnswerLost = resolve
    })
  }

  /** Calls once, when the present connection is lost. */
  onLost(listener: () => unknown): void {
    this.#onLost.push(listener)
  }

  close(): void {
    this.#state = 'closed'
  }

  /**
   * Calls the engine. If the connection is lost before the answer, rejects, or resolves to what `unanswered` makes of the error.
   * The call's signal is aborted then.
   */
  async run<Value>(
    call: (lost: AbortSignal) => Promise<Value>,
    unanswered?: (error: BrokerError) => Value,
  ): Promise<Value> {
    // What is closed says so itself.
    if (this.#state !== 'open' && this.#state !== 'closed') throw connectionLost()
    const fate = new AbortController()
    this.#underWay.add(fate)
    const lost = new Promise<Value>((resolve, reject) => {
      fate.signal.addEventListener('abort', () => {
        if (unanswered === undefined) reject(connectionLost())
        else resolve(unanswered(connectionLost()))
      })
    })
    lost.catch(() => undefined)
    try {
      const answer = call(fate.signal)
      const onAnswerLost = this.#onAnswerLost
      if (onAnswerLost === undefined) return await Promise.race([answer, lost])
      this.#onAnswerLost = undefined
      await answer.catch(() => undefined)
      this.lose()
      onAnswerLost()
      return await lost
    } finally {
      this.#underWay.delete(fate)
    }
  }
}

function connectionLost(): BrokerError {
  return new BrokerError('ZYQ_CONNECTION_LOST', 'The connection to the engine is lost.')
}

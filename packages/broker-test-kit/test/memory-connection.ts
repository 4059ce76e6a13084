import { BrokerError } from '@zyqueue/core/broker'

/** The connection between a broker and an engine in memory. It is open, lost or unreachable. */
export class MemoryConnection {
  #state: 'new' | 'open' | 'lost' | 'closed' = 'new'
  #reachable = true
  #leaked = 0
  #onAnswerLost: (() => void) | undefined
  #onLost: (() => unknown)[] = []
  readonly #pending = new Set<AbortController>()

  get connections(): number {
    return (this.#state === 'open' ? 1 : 0) + this.#leaked
  }

  /** Opens one more connection that is never closed. */
  leak(): void {
    this.#leaked += 1
  }

  connect(): void {
    if (!this.#reachable) throw new BrokerError('ZYQ_UNREACHABLE', 'The engine cannot be reached.')
    if (this.#state !== 'closed') this.#state = 'open'
  }

  /** Ends the connection, as the end of the engine does. */
  lose(): void {
    if (this.#state === 'open') this.#state = 'lost'
    for (const call of this.#pending) call.abort()
    for (const listener of this.#onLost.splice(0)) listener()
  }

  /** Ends the connection and refuses new ones. */
  cut(): void {
    this.#reachable = false
    this.lose()
  }

  heal(): void {
    this.#reachable = true
  }

  /** Loses the connection after the next call has reached the engine, and then resolves. */
  loseAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.#onAnswerLost = resolve
    })
  }

  /** Calls the listener once, when the present connection is lost. */
  onLost(listener: () => unknown): void {
    this.#onLost.push(listener)
  }

  close(): void {
    this.#state = 'closed'
  }

  /**
   * Calls the engine. If the connection is lost before the answer, aborts the signal of the call and rejects. If there is
   * `unanswered`, resolves to its result instead.
   */
  async run<Value>(
    call: (lost: AbortSignal) => Promise<Value>,
    unanswered?: (error: BrokerError) => Value,
  ): Promise<Value> {
    // A closed broker rejects the call itself.
    if (this.#state !== 'open' && this.#state !== 'closed') throw connectionLost()
    const loss = new AbortController()
    this.#pending.add(loss)
    const lost = new Promise<Value>((resolve, reject) => {
      loss.signal.addEventListener('abort', () => {
        if (unanswered === undefined) reject(connectionLost())
        else resolve(unanswered(connectionLost()))
      })
    })
    lost.catch(() => undefined)
    try {
      const answer = call(loss.signal)
      const onAnswerLost = this.#onAnswerLost
      if (onAnswerLost === undefined) return await Promise.race([answer, lost])
      this.#onAnswerLost = undefined
      await answer.catch(() => undefined)
      this.lose()
      onAnswerLost()
      return await lost
    } finally {
      this.#pending.delete(loss)
    }
  }
}

function connectionLost(): BrokerError {
  return new BrokerError('ZYQ_CONNECTION_LOST', 'The connection to the engine is lost.')
}

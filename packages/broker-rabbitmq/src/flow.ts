/** How much the credit grows at least, and how much too large it may be. */
const STEP = 4

/**
 * How much the server may push. Core pulls, and says each time how much it would hold; AMQP knows only a fixed prefetch
 * for each consumer. So credit follows the demand in steps: up as soon as it is too small, down when it has become far too
 * large, so that jobs do not lie here that others could run. Core's demand grows where jobs are short: credit that is some
 * times too large is a fraction of a second of work then.
 */
export class Flow {
  readonly #queues: number
  readonly #most: number
  #credit = 0

  /** `most`: the prefetch that core asked for. */
  constructor(queues: number, most: number) {
    this.#queues = queues
    this.#most = most
  }

  /** How many unacknowledged deliveries each queue may have with this consumer; 0 is none, and to consume nothing. */
  get credit(): number {
    return this.#credit
  }

  /** Takes note of how many jobs core would hold now, and says where the credit has changed. */
  demand(jobs: number): 'more' | 'less' | undefined {
    // Work comes to some queues rather than to all: each may have twice its share.
    const share = Math.max(1, Math.min(jobs, this.#queues === 1 ? jobs : Math.ceil((2 * jobs) / this.#queues)))
    if (share > this.#credit) {
      this.#credit = Math.min(Math.max(share, STEP * this.#credit), this.#most)
      return 'more'
    }
    if (share * STEP > this.#credit) return undefined
    this.#credit = share
    return 'less'
  }

  stop(): void {
    this.#credit = 0
  }
}

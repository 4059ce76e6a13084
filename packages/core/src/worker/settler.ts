import { isConnectionLoss, type Connection } from '../connection/connection.ts'
import type { Answer, Consumer, Delivery, SettleResult } from '../contract/index.ts'
import { backoffMs, pause, RECONNECT } from '../connection/backoff.ts'
import { CodecError, type ZyQueueError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { encodeData } from '../messages/envelope.ts'
import type { Outcome } from './outcome.ts'

interface SettledDelivery {
  readonly delivery: Delivery
  readonly outcome: Outcome
}

/** The result of one call. `error` is set if the outcome of an item is unknown. */
interface SettleAttempt {
  readonly results: readonly SettleResult[]
  readonly error?: ZyQueueError
  /** True if the whole call failed, and not because of the connection or the load of the broker. */
  readonly isRefused?: boolean
}

type Call<Item> = (items: readonly Item[]) => Promise<readonly SettleResult[]>

/**
 * Settles deliveries: batches the outcomes of one event loop turn into one call of each kind. If an answer is lost, it
 * retries while the lease can last. If the broker is full, it retries without delaying other settlements.
 */
export class Settler {
  readonly #connection: Connection
  readonly #consumer: Consumer
  readonly #leaseMs: number
  readonly #log: Logger
  readonly #onSettled: (count: number) => void
  readonly #onUnsettled: () => void
  #pending: SettledDelivery[] = []
  #flushing: Promise<void> | undefined
  /** Settlements that must not delay the others: a hook has not decided them, or the broker is full. */
  readonly #later = new Set<Promise<void>>()
  #scheduled = false

  constructor(options: {
    readonly connection: Connection
    readonly consumer: Consumer
    readonly leaseMs: number
    readonly log: Logger
    /** Called with the number of deliveries that are settled or given up. */
    readonly onSettled: (count: number) => void
    /** Called when the consumer may hold jobs that will not be settled. */
    readonly onUnsettled: () => void
  }) {
    this.#connection = options.connection
    this.#consumer = options.consumer
    this.#leaseMs = options.leaseMs
    this.#log = options.log
    this.#onSettled = options.onSettled
    this.#onUnsettled = options.onUnsettled
  }

  /** Settles a delivery when its outcome is known. A promise of the outcome must not reject. */
  settle(delivery: Delivery, outcome: Outcome | Promise<Outcome>): void {
    if (outcome instanceof Promise) return this.#track(this.#settleWhen(delivery, outcome))
    this.#pending.push({ delivery, outcome })
    if (this.#scheduled || this.#flushing !== undefined) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      void this.#flushDecided()
    })
  }

  #track(settling: Promise<void>): void {
    const tracked = settling.finally(() => this.#later.delete(tracked))
    this.#later.add(tracked)
  }

  async #settleWhen(delivery: Delivery, deciding: Promise<Outcome>): Promise<void> {
    this.settle(delivery, await deciding)
  }

  /** Resolves when all earlier settlements are decided, and answered or given up. Never rejects. */
  async flush(): Promise<void> {
    await this.#flushDecided()
    while (this.#later.size > 0) {
      await Promise.all(this.#later)
      await this.#flushDecided()
    }
  }

  async #flushDecided(): Promise<void> {
    while (this.#flushing !== undefined || this.#pending.length > 0) {
      this.#flushing ??= this.#send(this.#pending.splice(0)).finally(() => {
        this.#flushing = undefined
        if (this.#pending.length > 0) void this.#flushDecided()
      })
      await this.#flushing
    }
  }

  async #send(settlements: readonly SettledDelivery[]): Promise<void> {
    const acks: Delivery[] = []
    const answers: Answer[] = []
    const releases: Parameters<Consumer['release']>[0][number][] = []
    const rejections: Parameters<Consumer['reject']>[0][number][] = []
    const canDelay = this.#connection.broker.capabilities.delay !== 'none'
    for (const { delivery, outcome } of settlements) {
      if (outcome.kind === 'ack') {
        const body = outcome.result === undefined ? undefined : this.#encode(delivery, outcome.result)
        if (body === undefined) acks.push(delivery)
        else if (body instanceof CodecError) rejections.push({ delivery, reason: `${body.code}: ${body.message}` })
        else answers.push({ delivery, body })
      } else if (outcome.kind === 'reject')
        rejections.push({ delivery, reason: outcome.reason, headers: outcome.headers })
      else {
        const { headers } = outcome
        const delayMs = canDelay ? outcome.delayMs : 0
        releases.push(headers === undefined ? { delivery, delayMs } : { delivery, delayMs, headers })
      }
    }
    await Promise.all([
      this.#sendWithRetry('ack', acks, (items) => this.#consumer.ack(items)),
      this.#sendWithRetry('ack', answers, async (items) => (await this.#connection.broker.calls?.answer(items)) ?? []),
      this.#sendWithRetry('release', releases, (items) => this.#consumer.release(items)),
      this.#sendWithRetry('reject', rejections, (items) => this.#consumer.reject(items)),
    ])
  }

  /**
   * Encodes a result for the job's caller; undefined if the broker has no calls. A result that is not JSON fails a job
   * with a caller.
   */
  #encode(delivery: Delivery, result: unknown): Uint8Array | CodecError | undefined {
    if (this.#connection.broker.calls === undefined) return undefined
    try {
      return encodeData(result, 'result')
    } catch (error) {
      return delivery.foreground === true && error instanceof CodecError ? error : undefined
    }
  }

  async #sendWithRetry<Item>(
    verb: string,
    items: readonly Item[],
    call: Call<Item>,
    { since, firstTry } = { since: performance.now(), firstTry: 0 },
  ): Promise<void> {
    let open = items
    for (let tries = firstTry; open.length > 0; tries++) {
      const { results, error } = await this.#attemptEach(open, call, tries, since + this.#leaseMs)
      const lost = results.filter((result) => result.status === 'lease-lost').length
      if (lost > 0) this.#logLate(verb, lost)
      this.#logReturned(verb, results)
      const again = open.filter((_, index) => results[index]?.status === 'unknown')
      this.#onSettled(open.length - again.length)
      open = again
      if (open.length === 0) return
      // A retry is useless if the connection held the jobs, because they return with it, or if the lease has run out.
      const isOver = error?.code === 'ZYQ_CLOSED'
      const isFull = error?.code === 'ZYQ_BROKER_FULL'
      const isRenewable = this.#connection.broker.leases.kind === 'renewable'
      const retries = isRenewable ? performance.now() - since <= this.#leaseMs : isFull
      if (isOver || !retries) {
        if (isOver) this.#logLate(verb, open.length)
        else {
          this.#log.warn({ jobs: open.length, err: error }, `${verb} failed: the jobs will run again`)
          if (isRenewable || error === undefined || !isConnectionLoss(error)) this.#onUnsettled()
        }
        this.#onSettled(open.length)
        return
      }
      if (isFull && firstTry === 0) {
        // A full broker still accepts acks, which make room.
        const rest = open
        return this.#track(
          pause(backoffMs(RECONNECT, tries)).then(() =>
            this.#sendWithRetry(verb, rest, call, { since, firstTry: tries + 1 }),
          ),
        )
      }
      await pause(backoffMs(RECONNECT, tries))
    }
  }

  #logReturned(verb: string, results: readonly SettleResult[]): void {
    const returned = results.filter((result) => result.status === 'returned')
    const [first] = returned
    if (first === undefined) return
    const err = this.#connection.wrap(first.error)
    this.#log.warn({ jobs: returned.length, err }, `${verb} failed: the jobs return to their queues and run again`)
  }

  #logLate(verb: string, jobs: number): void {
    this.#log.warn({ jobs }, `${verb} came too late: the jobs returned to their queues or belong to other workers`)
  }

  async #attempt<Item>(items: readonly Item[], call: Call<Item>): Promise<SettleAttempt> {
    try {
      await this.#connection.open()
      const results = await call(items)
      const unknown = results.filter((result) => result.status === 'unknown')
      const [first] = unknown
      if (first === undefined) return { results }
      const error = this.#connection.wrap(first.error)
      return { results, error, isRefused: error.code === 'ZYQ_BROKER' && unknown.length === items.length }
    } catch (thrown) {
      const error = this.#connection.wrap(thrown)
      const isRefused = error.code === 'ZYQ_BROKER'
      return { results: items.map(() => ({ status: 'unknown', error })), error, isRefused }
    }
  }

  /**
   * If a whole call is refused, the cause may be single items that the adapter cannot write: the others are settled without
   * them. Three items are tried alone first. If all three are refused, the broker refuses everything; the next try takes
   * three others.
   */
  async #attemptEach<Item>(
    items: readonly Item[],
    call: Call<Item>,
    tries: number,
    untilMs: number,
  ): Promise<SettleAttempt> {
    const attempt = await this.#attempt(items, call)
    if (attempt.isRefused !== true || items.length < 2) return attempt
    const samples = new Set([0, items.length >> 1, items.length - 1].map((index) => (index + tries) % items.length))
    for (const at of samples) {
      const alone = await this.#attempt(items.slice(at, at + 1), call)
      if (alone.isRefused === true) continue
      const before = await this.#divide(items.slice(0, at), call, untilMs)
      return joinAttempts(before, alone, await this.#divide(items.slice(at + 1), call, untilMs))
    }
    return attempt
  }

  /** Settles all items in one call, and refused items in halves, until `untilMs` on the clock of `performance.now()`. */
  async #divide<Item>(items: readonly Item[], call: Call<Item>, untilMs: number): Promise<SettleAttempt> {
    if (items.length === 0) return { results: [] }
    const attempt = await this.#attempt(items, call)
    if (attempt.isRefused !== true || items.length < 2 || performance.now() > untilMs) return attempt
    const middle = items.length >> 1
    const first = await this.#divide(items.slice(0, middle), call, untilMs)
    return joinAttempts(first, await this.#divide(items.slice(middle), call, untilMs))
  }
}

function joinAttempts(...attempts: readonly SettleAttempt[]): SettleAttempt {
  const error = attempts.find((attempt) => attempt.error !== undefined)?.error
  return { results: attempts.flatMap(({ results }) => results), ...(error && { error }) }
}

import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Connection } from '../connection/connection.ts'
import type { ClientInfo, Consumer, Delivery, JobUpdate, QueueSpec } from '../contract/index.ts'
import { backoffMs, pause, RECONNECT } from '../connection/backoff.ts'
import { BrokerError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Outcome } from './outcome.ts'
import { Settler } from './settler.ts'
import { settledOrAborted } from './settled-or-aborted.ts'

export interface ConsumerSessionOptions {
  readonly connection: Connection
  readonly queues: readonly QueueSpec[]
  readonly prefetch: number
  readonly leaseMs: number
  readonly clientName: string
  readonly log: Logger
  /** Called when deliveries are settled or given up. */
  readonly onSettled: () => void
  /** Called when the broker reports that the lease has ended. */
  readonly onLeaseLost: (session: ConsumerSession) => void
}

/** A moment on two clocks. On Linux the monotonic clock stops while the host sleeps; the wall clock may be set. */
interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

/** One consumer with its lease and its unsettled jobs. A loop has one session at a time. */
export class ConsumerSession {
  readonly consumerId: string
  /** True if the session holds one job at a time. */
  readonly oneByOne: boolean
  readonly #consumer: Consumer
  readonly #settler: Settler
  readonly #connection: Connection
  readonly #leaseMs: number
  readonly #isRenewable: boolean
  readonly #log: Logger
  readonly #onLeaseLost: (session: ConsumerSession) => void
  #unsettled = 0
  readonly #end = new AbortController()
  #hasStuckJobs = false
  /** The start of the last call that created or renewed the lease. */
  #renewedAt: Moment
  #confirming: Promise<void> | undefined
  #renewal: NodeJS.Timeout | undefined

  /** Opens the connection if it is not open, and starts a consumer. Rejects with `ZyQueueError`. */
  static async begin(options: ConsumerSessionOptions): Promise<ConsumerSession> {
    const { connection, queues, prefetch, leaseMs, clientName } = options
    const client: ClientInfo = { name: clientName, host: hostname(), pid: process.pid }
    const consumerId = `${client.host}:${client.pid}:${randomBytes(6).toString('hex')}`
    await connection.declare(queues)
    try {
      const since = moment()
      const consumer = await connection.broker.consume({ queues, prefetch, leaseMs, consumerId, client })
      return new ConsumerSession(consumerId, consumer, since, options)
    } catch (error) {
      throw connection.wrap(error)
    }
  }

  private constructor(consumerId: string, consumer: Consumer, since: Moment, options: ConsumerSessionOptions) {
    const { connection, prefetch, leaseMs, log, onSettled, onLeaseLost } = options
    this.consumerId = consumerId
    this.oneByOne = prefetch === 1
    this.#consumer = consumer
    this.#renewedAt = since
    this.#connection = connection
    this.#leaseMs = leaseMs
    this.#log = log
    this.#onLeaseLost = onLeaseLost
    this.#settler = new Settler({
      connection,
      consumer,
      leaseMs,
      log,
      onSettled: (count) => {
        this.#unsettled -= count
        onSettled()
      },
      onUnsettled: () => {
        this.#hasStuckJobs = true
      },
    })
    this.#isRenewable = connection.broker.leases.kind === 'renewable'
    if (this.#isRenewable) {
      this.#renewal = setInterval(() => void this.#renew(), leaseMs / 3)
      this.#renewal.unref()
    }
  }

  /** The number of deliveries that are received and not settled. */
  get unsettled(): number {
    return this.#unsettled
  }

  /** True if the session has ended: its unsettled jobs belong to other workers. */
  get ended(): boolean {
    return this.#end.signal.aborted
  }

  /**
   * True if the lease surely holds at `now` (of `performance.now()`). False if the process was blocked, or the broker
   * unavailable, for as long as the lease lasts: then call `confirmLease`. A lease of the connection holds until the session ends.
   */
  holdsLease(now: number): boolean {
    if (this.ended) return false
    return !this.#isRenewable || (this.#confirming === undefined && this.#isCurrent(now))
  }

  /** Renews the lease. Resolves when it surely holds, or the session has ended. Never rejects. */
  confirmLease(): Promise<void> {
    this.#confirming ??= this.#renewUntilCurrent().finally(() => (this.#confirming = undefined))
    return this.#confirming
  }

  /** True if its consumer may hold jobs that will not be settled. Only the end of the consumer gives them back. */
  get hasStuckJobs(): boolean {
    return this.#hasStuckJobs
  }

  async receive(max: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    const deliveries = await this.#consumer.receive(max, { signal })
    this.#unsettled += deliveries.length
    return deliveries
  }

  /** Sends an update to the caller of a delivery, if there is one. */
  sendUpdate(delivery: Delivery, update: JobUpdate): void {
    this.#connection.broker.calls?.sendUpdate(delivery, update)
  }

  settle(delivery: Delivery, outcome: Outcome | Promise<Outcome>): void {
    this.#settler.settle(delivery, outcome)
  }

  /**
   * Settles the jobs that have an outcome, then ends the lease: the others go back. The signal ends the wait. Never
   * rejects.
   */
  async close(overdue: AbortSignal): Promise<void> {
    await settledOrAborted(overdue, this.#settler.flush())
    await settledOrAborted(overdue, this.abandon())
  }

  /** Ends the session without waiting for settlements. Never rejects. */
  async abandon(): Promise<void> {
    clearInterval(this.#renewal)
    this.#end.abort()
    try {
      await this.#consumer.close()
    } catch (error) {
      // Its lease will end by itself.
      this.#log.debug({ err: this.#connection.wrap(error) }, 'consumer did not close')
    }
  }

  #isCurrent(now: number): boolean {
    const { monotonicMs, wallMs } = this.#renewedAt
    return now - monotonicMs < this.#leaseMs && Date.now() - wallMs < this.#leaseMs
  }

  async #renewUntilCurrent(): Promise<void> {
    if (this.ended) return
    this.#log.warn({ consumer: this.consumerId }, 'the lease may have ended: renewing it before more jobs start')
    for (let tries = 0; !this.ended && !this.#isCurrent(performance.now()); tries++) {
      if (tries > 0) await pause(backoffMs(RECONNECT, tries - 1), this.#end.signal)
      await this.#renew()
    }
  }

  async #renew(): Promise<void> {
    try {
      // While a worker drains, only this code reconnects.
      await this.#connection.open()
      const { leases } = this.#connection.broker
      if (leases.kind !== 'renewable') return
      const since = moment()
      const over = await leases.renew([this.consumerId], this.#leaseMs)
      if (this.ended) return
      if (!over.includes(this.consumerId)) {
        this.#renewedAt = since
        return
      }
      this.#end.abort()
      clearInterval(this.#renewal)
      this.#log.warn({ consumer: this.consumerId }, 'the lease has ended: its jobs belong to other workers')
      this.#onLeaseLost(this)
    } catch (thrown) {
      const error = this.#connection.wrap(thrown)
      if (!(error instanceof BrokerError && error.code === 'ZYQ_CLOSED')) {
        this.#log.warn({ err: error }, 'cannot renew the lease')
      }
    }
  }
}

function moment(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() }
}

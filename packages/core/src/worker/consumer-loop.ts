import { isConnectionLoss, type Connection } from '../connection/connection.ts'
import type { Delivery, QueueSpec } from '../contract/index.ts'
import { backoffMs, pause, RECONNECT } from '../connection/backoff.ts'
import { ConfigError, type ZyQueueError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { AnyTask } from '../tasks/task.ts'
import { checkTaskSupport } from '../tasks/support.ts'
import { Failures, isOutage } from './failures.ts'
import { StallWatch } from './stall-watch.ts'
import type { Prefetch } from './prefetch.ts'
import { countsAllHeld, HOLD_ALONE_MS } from './poison.ts'
import { ConsumerSession } from './consumer-session.ts'
import { settledOrAborted } from './settled-or-aborted.ts'

/** How long a worker waits at its start for a broker that does not answer. */
const START_TIMEOUT_MS = 30_000
/** How long a call of the broker may hold up the end of receiving; it should heed its signal at once. */
const STOP_TIMEOUT_MS = 2_000
/** `receive` waits about a second for a first job; a broker that comes back with nothing sooner than this is asked less often. */
const EARLY_RETURN_MS = 50
const STUCK_JOBS_PAUSE_MS = 1_000
const EARLY_RETURN_PAUSE = { minMs: 4, maxMs: 100 }

export interface ConsumerLoopOptions {
  readonly connection: Connection
  readonly tasks: readonly AnyTask[]
  readonly prefetch: Prefetch
  readonly leaseMs: number
  readonly stallMs: number
  readonly clientName: string
  /** Whether it comes after one that died, perhaps of a job that it is to get now. */
  readonly afterDeath: boolean
  readonly log: Logger
  /** Whether the worker could start one more job at once. */
  readonly hasFreeSlot: () => boolean
  /** How many jobs of the session the worker has not started. */
  readonly countUnstarted: (session: ConsumerSession) => number
  readonly onDeliveries: (loop: ConsumerLoop, session: ConsumerSession, deliveries: readonly Delivery[]) => void
  /** A session is over: its jobs that have not started must be forgotten. */
  readonly onSessionEnd: (session: ConsumerSession) => void
  readonly onSessionStart: (session: ConsumerSession) => void
  /** Called when it has failed again and again without an outage of the broker. True if the worker ends for that. */
  readonly shouldEnd: (error: ZyQueueError) => boolean
}

/**
 * A worker's way in from one broker: one consumer for all its queues, begun again whenever it is lost.
 * Asks for as much as the prefetch allows, whenever there is room for a batch or an idle slot.
 */
export class ConsumerLoop {
  /** The names of the queues that it serves. */
  readonly queues: ReadonlySet<string>
  /** Whether it takes one job at a time, and holds no other: see `takeSingly`. */
  #oneByOne: boolean
  /** When a job came that must be held alone, or the session began. */
  #oneByOneSince = 0
  readonly #options: ConsumerLoopOptions
  readonly #stop = new AbortController()
  readonly #watch: StallWatch
  readonly #failures: Failures
  #session: ConsumerSession | undefined
  #receiving = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #emptyReceives = 0
  /** When a lasting failure had the connection replaced last. */
  #replacedAt = -Infinity
  #wake: (() => void) | undefined
  #abandonReceive: (() => void) | undefined

  constructor(options: ConsumerLoopOptions) {
    this.#options = options
    const { connection, tasks, stallMs, log, hasFreeSlot, afterDeath } = options
    // The job that killed the last process most likely comes first. If every prefetched job of a dead worker counts a lost
    // delivery, other jobs must not be held with it again.
    this.#oneByOne = afterDeath && this.countsAllHeld
    this.queues = new Set(tasks.map((task) => task.queue))
    this.#failures = new Failures(stallMs)
    this.#watch = new StallWatch({
      connection,
      queues: this.queues,
      stallMs,
      log,
      hasFreeSlot,
      onStall: () => void this.#rebuild(),
    })
  }

  get session(): ConsumerSession | undefined {
    return this.#session
  }

  get connection(): Connection {
    return this.#options.connection
  }

  /** Whether receiving has failed for a long time without an outage of the broker, and still does. */
  get isFailing(): boolean {
    return this.#failures.isLasting
  }

  /** True if the broker has no `reclaim`: every prefetched job of a dead worker then counts a lost delivery. */
  get countsAllHeld(): boolean {
    return countsAllHeld(this.connection.broker.leases)
  }

  get canDelay(): boolean {
    return this.connection.broker.capabilities.delay !== 'none'
  }

  /** Resolves when it consumes. Rejects with `ZyQueueError` where the broker refuses, or is away for half a minute. */
  start(): Promise<void> {
    const started = this.#begin()
    this.#running = started.then(
      () => this.#run(),
      () => {},
    )
    return started
  }

  /** To be called when a slot or room in the prefetch has become free. */
  wake(): void {
    this.#wake?.()
  }

  /**
   * Begins a session that holds one job at a time, for a job that must be held alone (see `poison.ts`). The caller must
   * give back what the present session holds. Returns false if the session holds one job at a time already.
   */
  takeOneByOne(session: ConsumerSession): boolean {
    this.#oneByOneSince = performance.now()
    if (session.oneByOne) return false
    this.#oneByOne = true
    return true
  }

  /** Returns to batches after what is unsettled, and not at once: such jobs come together, and a new session costs calls. */
  takeBatches(session: ConsumerSession): void {
    if (session.oneByOne && performance.now() - this.#oneByOneSince > HOLD_ALONE_MS) this.#oneByOne = false
  }

  /** Ends receiving; unsettled jobs stay. Resolves when no more jobs will come. Never rejects. */
  async stopReceiving(): Promise<void> {
    this.#stop.abort()
    this.#receiving.abort()
    this.#watch.stop()
    this.wake()
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), STOP_TIMEOUT_MS)
    await settledOrAborted(late.signal, this.#running)
    clearTimeout(timer)
  }

  /**
   * Settles what has an outcome, gives back the rest, and closes the connection: at once when the signal is aborted,
   * settled or not. Never rejects.
   */
  async close(overdue: AbortSignal): Promise<void> {
    await this.stopReceiving()
    await this.#session?.close(overdue)
    this.#session = undefined
    try {
      await this.connection.close()
    } catch (error) {
      this.#options.log.debug({ err: error }, 'the connection did not close')
    }
  }

  async #begin(): Promise<void> {
    const since = performance.now()
    for (let tries = 0; this.#session === undefined && !this.#stop.signal.aborted; tries++) {
      try {
        await this.#consume()
      } catch (thrown) {
        if (this.#stop.signal.aborted) return
        const error = this.connection.wrap(thrown)
        if (!error.retryable || performance.now() - since > START_TIMEOUT_MS) throw error
        if (tries === 0) this.#options.log.warn({ err: error }, 'broker unavailable, retrying')
        await pause(backoffMs(RECONNECT, tries), this.#stop.signal)
      }
    }
  }

  async #consume(): Promise<void> {
    const { connection, tasks, prefetch, leaseMs, clientName, log, onSessionStart } = this.#options
    for (const task of tasks) checkTaskSupport(task, connection.broker)
    const session = await ConsumerSession.begin({
      connection,
      queues: queuesOf(tasks),
      // Twice the limit: a job that is being settled counts against the prefetch until the broker has answered.
      prefetch: this.#oneByOne ? 1 : prefetch.ceiling * 2,
      leaseMs,
      clientName,
      log,
      onSettled: () => this.wake(),
      onLeaseLost: (lost) => this.#forgetUnstarted(lost),
    })
    if (this.#stop.signal.aborted) return session.abandon()
    this.#oneByOneSince = performance.now()
    this.#session = session
    onSessionStart(session)
  }

  async #run(): Promise<void> {
    if (!this.#stop.signal.aborted) {
      this.#watch.start()
      this.#reportLimits()
      void this.#reportProblems()
    }
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#session === undefined) await this.#consume()
        else await this.#receive(this.#session)
      } catch (thrown) {
        this.#watch.reset()
        if (this.#stop.signal.aborted) return
        const error = this.connection.wrap(thrown)
        const logs = this.#failures.add(error)
        const ends = this.isFailing && this.#options.shouldEnd(error)
        if (logs || ends) this.#logFailure(error, ends)
        if (ends) return
        await this.#recover(error)
      }
    }
  }

  /** A backoff that a task asks for by name is refused; the usual one, and what a handler asks for, cannot be. */
  #reportLimits(): void {
    const { connection, tasks, log } = this.#options
    const { name, capabilities } = connection.broker
    if (capabilities.delay === 'none' && tasks.some(({ options }) => options.retries !== 0)) {
      log.warn({}, `${name} has no delays: what is retried comes again at once, whatever its backoff`)
    }
  }

  /** Settings by which jobs can be lost are told at the start; what else there is, `zyqueue doctor` tells. Never rejects. */
  async #reportProblems(): Promise<void> {
    const { connection, log } = this.#options
    try {
      for (const { level, message, remedy } of await connection.broker.admin.check()) {
        if (level === 'problem') log.error({ remedy }, `${connection.broker.name}: ${message}`)
      }
    } catch (error) {
      log.debug({ err: connection.wrap(error) }, 'could not look at the settings of the broker')
    }
  }

  async #receive(session: ConsumerSession): Promise<void> {
    if (session.unsettled === 0) this.takeBatches(session)
    if (session.ended || (this.#isOutdated(session) && session.unsettled === 0)) {
      await this.#end(session)
      // What could not be settled once may not be so at once again.
      if (session.hasStuckJobs) await pause(STUCK_JOBS_PAUSE_MS, this.#stop.signal)
      return
    }
    const room = await this.#room(session)
    if (room === 0 || this.#stop.signal.aborted) return
    this.#receiving = new AbortController()
    const { signal } = this.#receiving
    this.#watch.noteReceive()
    const askedAt = performance.now()
    const deliveries = await this.#untilAbandoned(session.receive(room, signal))
    this.#watch.noteDeliveries(deliveries.length)
    if (deliveries.length > 0) {
      this.#emptyReceives = 0
      this.#options.onDeliveries(this, session, deliveries)
    } else if (!signal.aborted && performance.now() - askedAt < EARLY_RETURN_MS) {
      await pause(backoffMs(EARLY_RETURN_PAUSE, this.#emptyReceives++), signal)
    }
    // One that was given up has received nothing.
    if (!signal.aborted) this.#failures.clear()
  }

  /** A stuck `receive` may ignore its signal too; jobs that it returns later go back with its consumer. */
  #untilAbandoned(receiving: Promise<readonly Delivery[]>): Promise<readonly Delivery[]> {
    const givenUp = new Promise<readonly Delivery[]>((resolve) => {
      this.#abandonReceive = () => resolve([])
    })
    return Promise.race([receiving, givenUp])
  }

  /** True if another session must take its place as soon as all its jobs are settled. */
  #isOutdated(session: ConsumerSession): boolean {
    return session.hasStuckJobs || session.oneByOne !== this.#oneByOne
  }

  /** How many jobs to ask for: waits until an idle slot wants one, or a batch is worth a call. 0 when there is reason to look again. */
  async #room(session: ConsumerSession): Promise<number> {
    const { prefetch, hasFreeSlot } = this.#options
    const limit = this.#isOutdated(session) ? 0 : session.oneByOne ? 1 : prefetch.limit
    const room = limit - session.unsettled
    if (room > 0 && (hasFreeSlot() || room >= limit / 2)) return room
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    this.#wake = undefined
    return 0
  }

  #logFailure(error: ZyQueueError, ends: boolean): void {
    const { count, lastingMs } = this.#failures
    const fields = { err: error, ...(count > 1 && { failures: count, lastingMs }) }
    if (!this.isFailing) return this.#options.log.warn(fields, describeFailure(error))
    this.#options.log.error(fields, `receiving fails again and again: ${ends ? 'the worker ends' : 'retrying'}`)
  }

  async #recover(error: ZyQueueError): Promise<void> {
    const { log, connection } = this.#options
    if (this.#session !== undefined && this.#isOver(error)) await this.#end(this.#session)
    if (this.#mayReplace()) {
      this.#replacedAt = performance.now()
      void this.#rebuild()
    }
    await pause(backoffMs(RECONNECT, this.#failures.streak - 1), this.#stop.signal)
    try {
      await connection.open()
      if (isConnectionLoss(error)) log.info({}, 'connection is back')
    } catch (stillAway) {
      log.debug({ err: stillAway }, 'broker still away')
    }
  }

  /** Whether the error ends the session: a renewable lease outlives all but its own end, and its jobs go on. */
  #isOver({ code }: ZyQueueError): boolean {
    const isRenewable = this.connection.broker.leases.kind === 'renewable'
    return !isRenewable || code === 'ZYQ_LEASE_LOST' || code === 'ZYQ_CLOSED'
  }

  /** Whether a failure that lasts may have the connection replaced: not often, and not under jobs that run or are being settled. */
  #mayReplace(): boolean {
    if (!this.isFailing || performance.now() - this.#replacedAt < this.#failures.lastsAfterMs) return false
    const session = this.#session
    return session === undefined || session.unsettled === this.#options.countUnstarted(session)
  }

  /** Its jobs belong to other workers now. Jobs that run go on; no other job of it may start. */
  #forgetUnstarted(session: ConsumerSession): void {
    this.#options.onSessionEnd(session)
    if (this.#session !== session) return
    this.#receiving.abort()
    this.wake()
  }

  async #end(session: ConsumerSession): Promise<void> {
    if (this.#session === session) this.#session = undefined
    this.#options.onSessionEnd(session)
    await session.abandon()
  }

  /** Replaces the connection of a consumer that takes nothing while work waits. */
  async #rebuild(): Promise<void> {
    const session = this.#session
    this.#receiving.abort()
    this.#abandonReceive?.()
    const replaced = this.connection.replace().catch((error: unknown) => {
      this.#options.log.debug({ err: error }, 'the stuck connection did not close')
    })
    if (session !== undefined) await this.#end(session)
    await replaced
  }
}

function describeFailure(error: ZyQueueError): string {
  if (isConnectionLoss(error)) return 'connection lost, coming back'
  return isOutage(error) ? 'broker is busy, asking again' : 'receiving failed, trying again'
}

/** Each queue once. Throws `ConfigError` (`ZYQ_CONFIG`) where two tasks want the same one with other options. */
function queuesOf(tasks: readonly AnyTask[]): readonly QueueSpec[] {
  const queues = new Map<string, QueueSpec>()
  for (const { name, queueSpec } of tasks) {
    const known = queues.get(queueSpec.name)
    if (known !== undefined && JSON.stringify(known.options) !== JSON.stringify(queueSpec.options)) {
      throw new ConfigError(
        'ZYQ_CONFIG',
        `The task ${name} shares the queue ${queueSpec.name} with another task, but gives it other options.`,
      )
    }
    queues.set(queueSpec.name, known ?? queueSpec)
  }
  return [...queues.values()]
}

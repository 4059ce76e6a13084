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

/** How long a worker waits at its start for an unavailable broker, unless `waitsForBroker` is set. */
const START_TIMEOUT_MS = 30_000
/** How long `stopReceiving` waits for a `receive` that ignores its signal. */
const STOP_TIMEOUT_MS = 2_000
/**
 * `receive` waits about a second for a first job. If it returns nothing within this time, the loop pauses before the next
 * call.
 */
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
  /** True if the worker replaces a process that died. The job that killed it may come first. */
  readonly afterDeath: boolean
  /** True if `start` waits for an unavailable broker without a time limit. */
  readonly waitsForBroker: boolean
  readonly log: Logger
  /** True if the worker can start one more job now. */
  readonly hasFreeSlot: () => boolean
  /** The number of the session's jobs that the worker has not started. */
  readonly countUnstarted: (session: ConsumerSession) => number
  readonly onDeliveries: (loop: ConsumerLoop, session: ConsumerSession, deliveries: readonly Delivery[]) => void
  /** Called when a session ends: the worker must drop its unstarted jobs. */
  readonly onSessionEnd: (session: ConsumerSession) => void
  readonly onSessionStart: (session: ConsumerSession) => void
  /** Called at each failure to receive. */
  readonly onError: (error: ZyQueueError) => void
  /** Called if receiving keeps failing without an outage of the broker. Returns true if the worker ends because of it. */
  readonly shouldEnd: (error: ZyQueueError) => boolean
}

/**
 * Receives the jobs of one broker for a worker: one consumer for all its queues, which is replaced when it is lost.
 * Asks for as many jobs as the prefetch allows if there is room for half of it or a slot is idle.
 */
export class ConsumerLoop {
  /** The names of the queues that this loop serves. */
  readonly queues: ReadonlySet<string>
  /** True if the loop holds one job at a time: see `takeOneByOne`. */
  #oneByOne: boolean
  /** The time of the last job that must be held alone, or of the session's start. */
  #oneByOneSince = 0
  readonly #options: ConsumerLoopOptions
  readonly #stop = new AbortController()
  readonly #watch: StallWatch
  readonly #failures: Failures
  #session: ConsumerSession | undefined
  #receiving = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #emptyReceives = 0
  /** The last time that the connection was replaced because of a lasting failure. */
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

  /** True if receiving keeps failing without an outage of the broker: see `Failures`. */
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

  /** Resolves when it consumes. Rejects with `ZyQueueError` if the broker refuses, or is unavailable for 30 seconds and the loop does not wait. */
  start(): Promise<void> {
    const started = this.#begin()
    this.#running = started.then(
      () => this.#run(),
      () => {},
    )
    return started
  }

  /** Must be called when a slot or room in the prefetch becomes free. */
  wake(): void {
    this.#wake?.()
  }

  /**
   * Begins a session that holds one job at a time, for a job that must be held alone (see `poison.ts`). The caller must
   * release the jobs that the present session holds. Returns false if the session holds one job at a time already.
   */
  takeOneByOne(session: ConsumerSession): boolean {
    this.#oneByOneSince = performance.now()
    if (session.oneByOne) return false
    this.#oneByOne = true
    return true
  }

  /**
   * Returns to batches some time after the last job that must be held alone: such jobs come together, and a new session
   * costs calls.
   */
  takeBatches(session: ConsumerSession): void {
    if (session.oneByOne && performance.now() - this.#oneByOneSince > HOLD_ALONE_MS) this.#oneByOne = false
  }

  /** Stops receiving; unsettled jobs stay. Resolves when no more jobs will come. Never rejects. */
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
   * Settles the jobs that have an outcome, releases the others, and closes the connection. If the signal is aborted, it
   * closes without waiting for settlements. Never rejects.
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
        const isOver = !this.#options.waitsForBroker && performance.now() - since > START_TIMEOUT_MS
        if (!error.retryable || isOver) throw error
        this.#options.onError(error)
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
      // Twice the limit: a job whose settlement is in flight counts against the prefetch until the broker answers.
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
        this.#options.onError(error)
        const logs = this.#failures.add(error)
        const ends = this.isFailing && this.#options.shouldEnd(error)
        if (logs || ends) this.#logFailure(error, ends)
        if (ends) return
        await this.#recover(error)
      }
    }
  }

  /** `start` refuses an explicit backoff on a broker without delays. The default backoff gets a warning instead. */
  #reportLimits(): void {
    const { connection, tasks, log } = this.#options
    const { name, capabilities } = connection.broker
    if (capabilities.delay === 'none' && tasks.some(({ options }) => options.retries !== 0)) {
      log.warn({}, `${name} has no delays: failed jobs are retried at once, without backoff`)
    }
  }

  /** Logs broker settings that can lose jobs. `zyqueue doctor` reports the other findings. Never rejects. */
  async #reportProblems(): Promise<void> {
    const { connection, log } = this.#options
    try {
      for (const { level, message, remedy } of await connection.broker.admin.check()) {
        if (level === 'problem') log.error({ remedy }, `${connection.broker.name}: ${message}`)
      }
    } catch (error) {
      log.debug({ err: connection.wrap(error) }, 'cannot read the settings of the broker')
    }
  }

  async #receive(session: ConsumerSession): Promise<void> {
    if (session.unsettled === 0) this.takeBatches(session)
    if (session.ended || (this.#isOutdated(session) && session.unsettled === 0)) {
      await this.#end(session)
      // The broker may refuse the same settlement again: the pause prevents a tight loop.
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
    // An abandoned `receive` does not prove that the broker works.
    if (!signal.aborted) this.#failures.clear()
  }

  /** A stuck `receive` may ignore its signal. The jobs that it returns later go back when its consumer closes. */
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

  /**
   * The number of jobs to ask for. If there is room for none, waits for `wake` and returns 0: the caller must check
   * again.
   */
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
    this.#options.log.error(fields, `receiving keeps failing: ${ends ? 'the worker ends' : 'retrying'}`)
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
      log.debug({ err: stillAway }, 'broker still unavailable')
    }
  }

  /** True if the error ends the session. A renewable lease survives a lost connection, and its jobs go on. */
  #isOver({ code }: ZyQueueError): boolean {
    const isRenewable = this.connection.broker.leases.kind === 'renewable'
    return !isRenewable || code === 'ZYQ_LEASE_LOST' || code === 'ZYQ_CLOSED'
  }

  /** True if a lasting failure should replace the connection: not often, and not while jobs run or are being settled. */
  #mayReplace(): boolean {
    if (!this.isFailing || performance.now() - this.#replacedAt < this.#failures.lastsAfterMs) return false
    const session = this.#session
    return session === undefined || session.unsettled === this.#options.countUnstarted(session)
  }

  /** The session lost its lease: its jobs belong to other workers. Running jobs go on; no other job of it may start. */
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

  /** Replaces the connection of a stalled consumer. */
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
  if (isConnectionLoss(error)) return 'connection lost, reconnecting'
  return isOutage(error) ? 'broker is busy, retrying' : 'receiving failed, retrying'
}

/** Each queue once. Throws `ConfigError` (`ZYQ_CONFIG`) if two tasks want the same queue with different options. */
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

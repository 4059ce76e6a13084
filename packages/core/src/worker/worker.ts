import { AsyncResource } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { createConnection } from '../connection/connection.ts'
import type { Delivery } from '../contract/index.ts'
import type { BrokerChoice } from '../connection/discovery.ts'
import { BrokerError, type ZyQueueError } from '../errors.ts'
import { workerChannel, type WorkerStateEvent } from '../diagnostics.ts'
import { hostMonotonicMs } from '../host-clock.ts'
import { ABORT, RELEASE_UNSTARTED } from '../internals.ts'
import { keepAlive } from '../keep-alive.ts'
import { createLogger, safeLogger, type Logger } from '../logger.ts'
import { parseOptions } from '../parse-options.ts'
import type { AnyTask } from '../tasks/task.ts'
import { runsInAnotherSession, type ActiveJob, type Supervision } from './active-job.ts'
import { Execution, type Refusal } from './execution.ts'
import { ConsumerLoop } from './consumer-loop.ts'
import {
  CLOSE_TIMEOUT_MS,
  DEFAULT_CONCURRENCY,
  DEFAULT_GRACE_MS,
  DEFAULT_LEASE_MS,
  DEFAULT_STALL_MS,
  workerOptionsSchema,
  type WorkerOptions,
} from './options.ts'
import { JobEnds } from './job-ends.ts'
import { GIVE_BACK, type Outcome } from './outcome.ts'
import { Prefetch } from './prefetch.ts'
import { DENIED, HELD, Scheduler, type Run } from './scheduler.ts'
import type { WorkerState, WorkerStatus } from './status.ts'
import type { WorkerEvents, WorkerListener } from './worker-events.ts'
import { WorkerHooks } from './worker-hooks.ts'
import { groupByBroker, tasksOf } from './worker-tasks.ts'
import type { ConsumerSession } from './consumer-session.ts'

/**
 * Runs the jobs of tasks in this process: the same loop as in the processes of `zyqueue work`.
 *
 * Between `start` and `close` it keeps the process alive. It renews its leases itself, so a handler that blocks this
 * process for longer than `leaseMs` loses its jobs to other workers: run such tasks under the supervisor.
 */
export class Worker implements AsyncDisposable {
  readonly id: string
  readonly #options: WorkerOptions
  readonly #log: Logger
  readonly #supervision: Supervision | undefined
  readonly #hooks: WorkerHooks
  readonly #ends: JobEnds
  readonly #prefetch: Prefetch
  readonly #scheduler: Scheduler<ActiveJob>
  readonly #ended: Promise<void>
  #resolveEnded: () => void = () => {}
  #execution: Execution | undefined
  #loops: ConsumerLoop[] = []
  #state: WorkerState = 'new'
  #done = 0
  #idle: (() => void) | undefined
  #grace: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  #isClosingNow = false
  #reachedMaxJobs = false
  readonly #overdue = new AbortController()
  #deadline: NodeJS.Timeout | undefined
  #release: (() => void) | undefined

  /** Throws `ConfigError`. Use `createWorker`. */
  constructor(options: WorkerOptions, supervision?: Supervision) {
    parseOptions(workerOptionsSchema, options, 'createWorker')
    this.id = `${hostname()}:${process.pid}:${randomBytes(4).toString('hex')}`
    this.#options = options
    this.#log = safeLogger(options.logger ?? createLogger({ level: 'warn' }))
    this.#supervision = supervision
    this.#hooks = new WorkerHooks(this.#log)
    this.#ends = new JobEnds(this.#log)
    const concurrency = options.concurrency ?? DEFAULT_CONCURRENCY
    this.#prefetch = new Prefetch(concurrency, options.prefetch)
    this.#scheduler = new Scheduler({
      concurrency,
      maxStarts: options.maxJobs,
      ledger: supervision?.ledger,
      run: (job) => this.#run(job),
      onEnd: () => this.#afterRun(),
    })
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
  }

  /** Resolves when the worker has closed. Never rejects. If a broker fails, the worker retries and stays open. */
  get ended(): Promise<void> {
    return this.#ended
  }

  /**
   * Calls a function at each event of this kind: `start`, `end`, `retry`, `postpone`, `dead` or `error`. An error of the function
   * is logged and has no other effect. Returns the worker. Throws `ConfigError` (`ZYQ_CONFIG`).
   */
  on<Name extends keyof WorkerEvents>(name: Name, listener: WorkerListener<Name>): this {
    this.#ends.events.on(name, listener)
    return this
  }

  get status(): WorkerStatus {
    const { jobs, dead, expired } = this.#ends
    const { running, waiting } = this.#scheduler
    return { state: this.#state, done: this.#done, jobs, dead, expired, running: running.size, waiting }
  }

  /**
   * Connects and begins to receive jobs. Rejects with `ConfigError` if a task needs a feature that its broker does not have,
   * or if there is no task, and with `BrokerError` if a broker refuses or is unavailable for 30 seconds; the worker is closed
   * then. Also resolves if the worker is drained or closed before it is ready.
   */
  async start(): Promise<void> {
    if (this.status.state !== 'new')
      throw new BrokerError('ZYQ_CLOSED', 'The worker was started before. Create another one with createWorker().')
    this.#enter('starting')
    this.#release = keepAlive()
    try {
      const tasks = tasksOf(this.#options, this.#supervision !== undefined)
      const { name = 'worker', middleware = [] } = this.#options
      this.#execution = new Execution(tasks, { id: this.id, name, log: this.#log }, middleware)
      const loops = await Promise.all([...groupByBroker(tasks)].map(([choice, group]) => this.#openLoop(choice, group)))
      // The worker was closed meanwhile. The loops have opened nothing yet.
      if (this.#closing !== undefined) return
      this.#loops = loops
      await Promise.all(loops.map((loop) => loop.start()))
    } catch (error) {
      await this.close()
      throw error
    }
    if (this.#state === 'starting') this.#enter('running')
  }

  /**
   * Stops receiving, releases unstarted jobs, waits up to `graceMs` for running jobs, then aborts (`job.signal`) and releases
   * the jobs that still run, and closes. Never rejects.
   */
  drain(): Promise<void> {
    const { graceMs = DEFAULT_GRACE_MS } = this.#options
    if (this.#state !== 'closed') this.#grace ??= setTimeout(() => this.#endGracePeriod(), graceMs)
    return this.#end()
  }

  /** Stops receiving, releases unstarted jobs, waits for running jobs without a time limit, and closes. Never rejects. */
  finishAndClose(): Promise<void> {
    return this.#end()
  }

  /** Stops now: releases all jobs, also running ones, and closes within seconds. Never rejects. */
  close(): Promise<void> {
    this.#isClosingNow = true
    this.#abandonSettlementsAfter(CLOSE_TIMEOUT_MS)
    this.#giveBackRunning()
    return this.#end()
  }

  /** Must be called when this process ends, so that jobs that have ended or not started count no lost delivery. */
  [RELEASE_UNSTARTED](): void {
    const ledger = this.#supervision?.ledger
    for (const job of this.#scheduler.unstarted) ledger?.end(job)
    ledger?.flush()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #openLoop(choice: BrokerChoice, tasks: readonly AnyTask[]): Promise<ConsumerLoop> {
    const { leaseMs = DEFAULT_LEASE_MS, stallMs = DEFAULT_STALL_MS, name = 'worker' } = this.#options
    return new ConsumerLoop({
      connection: await createConnection(choice),
      tasks,
      prefetch: this.#prefetch,
      leaseMs,
      stallMs,
      clientName: name,
      afterDeath: this.#supervision?.afterDeath ?? false,
      waitsForBroker: this.#supervision?.waitsForBroker ?? false,
      log: this.#log,
      hasFreeSlot: () => this.#scheduler.hasFreeSlot,
      countUnstarted: (session) => this.#scheduler.count((job) => job.session === session),
      onDeliveries: (loop, session, deliveries) => this.#take(loop, session, deliveries),
      onSessionStart: () => this.#supervision?.onSessions(this.#loops),
      onSessionEnd: (session) => {
        this.#scheduler.remove((job) => job.session === session)
        this.#supervision?.onSessions(this.#loops)
      },
      onError: (error) => this.#ends.events.failed(error),
      shouldEnd: (error) => this.#endAfterFailures(error),
    })
  }

  #take(loop: ConsumerLoop, session: ConsumerSession, deliveries: readonly Delivery[]): void {
    const jobs: ActiveJob[] = []
    const { countsAllHeld, canDelay } = loop
    for (const delivery of deliveries) {
      const opened = this.#execution?.open(delivery, { updates: session, countsAllHeld, canDelay })
      if (opened === undefined || this.#isEnding) session.settle(delivery, GIVE_BACK)
      else if ('outcome' in opened) this.#refuse(session, delivery, opened)
      else jobs.push({ session, delivery, work: opened, alone: opened.alone })
    }
    if (!jobs.some(({ alone }) => alone)) loop.takeBatches(session)
    else if (loop.takeOneByOne(session)) {
      const unstarted = [...this.#scheduler.remove((job) => job.session === session), ...jobs]
      for (const { delivery } of unstarted) session.settle(delivery, GIVE_BACK)
      return
    }
    this.#scheduler.add(jobs)
  }

  #refuse(session: ConsumerSession, delivery: Delivery, { task, outcome }: Refusal): void {
    this.#ends.report(delivery, task, outcome)
    session.settle(delivery, this.#hooks.settle(task, delivery, false, outcome))
  }

  /** True if the worker must release new deliveries. A held job still counts against `maxJobs`. */
  get #isEnding(): boolean {
    return this.#closing !== undefined || this.#reachedMaxJobs || this.#scheduler.exhausted
  }

  #run(job: ActiveJob): Run {
    if (this.#supervision?.isOrphan() === true) {
      void this.drain()
      return HELD
    }
    const { session, delivery, work } = job
    // It starts when the lease is confirmed, and is dropped if the lease has ended.
    if (!session.holdsLease(performance.now())) {
      void this.#resumeWhenConfirmed(session)
      return HELD
    }
    if (runsInAnotherSession(this.#scheduler.running, job)) return HELD
    const { task } = work
    // It may have expired while it waited for its turn.
    const expired = this.#execution?.expire(delivery)
    if (expired !== undefined) {
      this.#refuse(session, delivery, { task, outcome: expired })
      return Promise.resolve(DENIED)
    }
    const deciding = this.#hooks.start(task, work.job)
    return deciding === undefined ? this.#attempt(job) : this.#runIfAllowed(job, deciding)
  }

  /** Runs a job if its start hook lets it start. Until then the ledger does not have it. */
  async #runIfAllowed(job: ActiveJob, deciding: Promise<'start' | Outcome>): Promise<void | typeof DENIED> {
    const { session, delivery, work } = job
    const ledger = this.#supervision?.ledger
    ledger?.end(job)
    const decision = await deciding
    if (!session.holdsLease(performance.now())) await session.confirmLease()
    if (this.#givenBack.has(job)) return DENIED
    if (decision !== 'start' || this.#closing !== undefined || session.ended) {
      session.settle(delivery, decision === 'start' ? this.#hooks.giveBack(work, delivery) : decision)
      if (decision !== 'start') this.#ends.report(delivery, work.task, decision)
      return DENIED
    }
    ledger?.begin(job)
    ledger?.flush()
    return this.#attempt(job)
  }

  #attempt(job: ActiveJob): void | Promise<void> {
    const since = performance.now()
    if (this.#scheduler.exhausted && !this.#reachedMaxJobs) this.#finishAfterMaxJobs()
    const { hardTimeoutMs } = job.work.task.options
    this.#supervision?.ledger.start(job, hardTimeoutMs === undefined ? undefined : hostMonotonicMs() + hardTimeoutMs)
    this.#ends.events.started(job.work.job)
    // Isolates the `AsyncLocalStorage` values that a job enters.
    const context = new AsyncResource('ZyQueueJob')
    const outcome = context.runInAsyncScope(() => this.#execution?.run(job.work)) ?? GIVE_BACK
    if (outcome instanceof Promise) return outcome.then((ended) => this.#afterAttempt(job, since, ended))
    this.#afterAttempt(job, since, outcome)
  }

  async #resumeWhenConfirmed(session: ConsumerSession): Promise<void> {
    const isOfSession = (job: ActiveJob): boolean => job.session === session
    await session.confirmLease()
    if (!session.ended) return this.#scheduler.resume(isOfSession)
    this.#scheduler.remove(isOfSession)
    this.#closeIfDone()
  }

  #afterAttempt(job: ActiveJob, since: number, outcome: Outcome): void {
    const durationMs = performance.now() - since
    this.#prefetch.note(durationMs)
    this.#done++
    if (this.#givenBack.has(job)) return
    const { session, delivery, work } = job
    const attempt = { attempt: work.job.attempt, durationMs }
    const settled = this.#hooks.settle(work.task, delivery, true, outcome)
    session.settle(delivery, settled)
    if (!(settled instanceof Promise)) this.#ends.report(delivery, work.task, outcome, attempt)
    else void settled.then((final) => this.#ends.report(delivery, work.task, final, attempt))
  }

  #enter(state: WorkerState): void {
    this.#state = state
    const name = this.#options.name ?? 'worker'
    if (workerChannel.hasSubscribers) workerChannel.publish({ worker: this.id, name, state } satisfies WorkerStateEvent)
  }

  #afterRun(): void {
    this.#idle?.()
    // The jobs that waited for the end of this one.
    this.#scheduler.resume(({ session }) => session.holdsLease(performance.now()))
    this.#closeIfDone()
    for (const loop of this.#loops) loop.wake()
  }

  #closeIfDone(): void {
    const { running, waiting } = this.#scheduler
    if (this.#reachedMaxJobs && running.size === 0 && waiting === 0) void this.finishAndClose()
  }

  /** Ends the worker and returns true if all loops fail and a supervisor can replace the worker. Running jobs may end. */
  #endAfterFailures(error: ZyQueueError): boolean {
    if (this.#supervision === undefined || !this.#loops.every((loop) => loop.isFailing)) return false
    this.#supervision.onFinishing(`receiving keeps failing: ${error.code}: ${error.message}`)
    void this.finishAndClose()
    return true
  }

  /** Called when `maxJobs` jobs have started: running jobs may take any time, and the others go back. */
  #finishAfterMaxJobs(): void {
    this.#reachedMaxJobs = true
    this.#log.info({ jobs: this.#options.maxJobs }, 'worker has started its maximum number of jobs')
    this.#supervision?.onFinishing('it reached its maximum number of jobs')
    for (const loop of this.#loops) void loop.stopReceiving()
    this.#giveBackUnstarted()
  }

  /** Jobs that were released while their handlers ran: their results are ignored. */
  readonly #givenBack = new WeakSet<ActiveJob>()

  #endGracePeriod(): void {
    const jobs = [...this.#scheduler.running].map(({ work }) => work.job.id)
    this.#log.warn({ jobs }, 'grace period is over: running jobs return to their queues')
    this.#giveBackRunning()
  }

  #giveBackRunning(): void {
    const reason = new BrokerError('ZYQ_CLOSED', 'The worker stops. The job returns to its queue.')
    for (const job of this.#scheduler.running) {
      if (this.#givenBack.has(job)) continue
      this.#givenBack.add(job)
      const { session, delivery, work } = job
      work.job[ABORT](reason)
      session.settle(delivery, this.#hooks.giveBack(work, delivery))
      this.#supervision?.ledger.end(job)
    }
    this.#supervision?.ledger.flush()
    this.#idle?.()
  }

  #end(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#enter('draining')
    const since = performance.now()
    const stopped = Promise.all(this.#loops.map((loop) => loop.stopReceiving()))
    this.#giveBackUnstarted()
    await stopped
    this.#giveBackUnstarted()
    await this.#untilIdle()
    clearTimeout(this.#grace)
    const leftMs = (this.#options.graceMs ?? DEFAULT_GRACE_MS) - (performance.now() - since)
    this.#abandonSettlementsAfter(this.#isClosingNow ? CLOSE_TIMEOUT_MS : Math.max(leftMs, CLOSE_TIMEOUT_MS))
    await Promise.all(this.#loops.map((loop) => loop.close(this.#overdue.signal)))
    clearTimeout(this.#deadline)
    // A late `drain` may have set it again.
    clearTimeout(this.#grace)
    this.#enter('closed')
    // A supervisor logs the total of its processes.
    if (this.#supervision === undefined) this.#ends.logTotal()
    this.#release?.()
    this.#resolveEnded()
  }

  /** Bounds the wait for settlements. Otherwise an unavailable broker would delay the end until the leases run out. */
  #abandonSettlementsAfter(ms: number): void {
    clearTimeout(this.#deadline)
    if (this.#state !== 'closed') this.#deadline = setTimeout(() => this.#overdue.abort(), ms)
  }

  #giveBackUnstarted(): void {
    for (const { session, delivery } of this.#scheduler.remove(() => true)) session.settle(delivery, GIVE_BACK)
  }

  /** Resolves when every running job has ended or is released. */
  async #untilIdle(): Promise<void> {
    const isIdle = (): boolean => [...this.#scheduler.running].every((job) => this.#givenBack.has(job))
    while (!isIdle()) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
      })
    }
  }
}

/** Creates a worker for this process. Call `start` to run it. Throws `ConfigError`. */
export function createWorker(options: WorkerOptions = {}): Worker {
  return new Worker(options)
}

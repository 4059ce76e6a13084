import { basename, dirname } from 'node:path'
import { backoffMs, type Backoff } from '../connection/backoff.ts'
import { JobError, messageOf, type ZyQueueError } from '../errors.ts'
import { keepAlive } from '../keep-alive.ts'
import { createLogger, safeLogger, type Logger } from '../logger.ts'
import { parseOptions } from '../parse-options.ts'
import { DEFAULT_GRACE_MS, DEFAULT_LEASE_MS, DEFAULT_STALL_MS } from '../worker/options.ts'
import { describeTotal } from '../worker/job-ends.ts'
import { lostDeliveries } from '../worker/poison.ts'
import { isDone } from './burst.ts'
import { fatalError } from './fatal.ts'
import { PROTOCOL, type StartMessage, type ToSupervisor } from './ipc.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { Liveness } from './liveness.ts'
import {
  supervisorSchema,
  type CheckedSupervisorOptions,
  type SupervisorOptions,
  type SupervisorResult,
  type TaskFileLoader,
} from './options.ts'
import { WorkerHandle, type WorkerEnd } from './worker-handle.ts'

/** The delays before failed worker processes are restarted. */
const RESTART: Backoff = { minMs: 200, maxMs: 30_000 }
/** A process that has been ready for longer than this did not fail at its start. */
const STABLE_MS = 10_000
/** The supervisor ends after this many failed starts in a row for each slot. */
const MAX_FAILED_STARTS = 3
/** How often the processes are checked. */
const CHECK_INTERVAL_MS = 250

/** Holds one worker process at a time. */
interface Slot {
  readonly number: number
  worker: WorkerHandle | undefined
  /** The number of processes of this slot that failed in a row. */
  failures: number
  /** True if the last process of this slot died. */
  afterDeath: boolean
  restart: NodeJS.Timeout | undefined
}

/**
 * Runs a task file in several processes: restarts processes that end, replaces processes that are stuck or use too much
 * memory, kills a process whose job is past its hard timeout, and returns the jobs of a dead process to their queues at once.
 * It does not load the task file itself.
 */
export class Supervisor {
  readonly #options: CheckedSupervisorOptions
  readonly #log: Logger
  readonly #leases: LeaseKeeper
  readonly #liveness: Liveness
  readonly #slots: Slot[]
  /** Every process that has not ended, also one that is being replaced. */
  readonly #alive = new Set<WorkerHandle>()
  #loader: TaskFileLoader | undefined
  #outcome: SupervisorResult | undefined
  #finish: (() => void) | undefined
  #checkTimer: NodeJS.Timeout | undefined
  #checkedAt = performance.now()
  #skipped = false
  #checksBurst = false
  /** True if a process has become ready since the start or the last reload. */
  #everReady = false
  /** True if a process has completed a job since then, or has been ready for long. */
  #proven = false
  #failedStarts = 0
  /** The figures of the processes that have ended. */
  readonly #total = { jobs: 0, dead: 0 }

  /** Use `createSupervisor`. Throws `ConfigError`. */
  constructor(options: SupervisorOptions) {
    const { loader, logger: given = createLogger(), ...plain } = options
    const logger = safeLogger(given)
    this.#options = parseOptions(supervisorSchema, plain, 'createSupervisor')
    this.#loader = loader
    this.#log = logger
    this.#leases = new LeaseKeeper(logger, () => [...this.#alive].flatMap((worker) => worker.consumers))
    this.#liveness = new Liveness(this.#options.stallMs ?? DEFAULT_STALL_MS, logger)
    this.#slots = Array.from({ length: this.#options.maxWorkers }, (_, index) => ({
      number: index + 1,
      worker: undefined,
      failures: 0,
      afterDeath: false,
      restart: undefined,
    }))
  }

  /** Starts the processes. Resolves when all have ended. Never rejects: the result has the error. Call it once. */
  async run(): Promise<SupervisorResult> {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve
    })
    // Held until the end, because an adapter that closes does not keep the process alive.
    const release = keepAlive()
    this.#leases.start(this.#leaseMs)
    this.#checkTimer = setInterval(() => this.#checkWorkers(), CHECK_INTERVAL_MS)
    for (const slot of this.#slots) this.#start(slot)
    this.#endIfEmpty()
    await finished
    clearInterval(this.#checkTimer)
    await this.#leases.close()
    if (this.#outcome?.reason !== 'failed') this.#log.info({ ...this.#total }, describeTotal(this.#total))
    release()
    return this.#outcome ?? { reason: 'drained' }
  }

  /** Lets each process finish its jobs within the grace period, then ends. */
  drain(): void {
    this.#shutDown('drain', { reason: 'drained' })
  }

  /** Makes each process release its jobs now, then ends. */
  stop(): void {
    this.#shutDown('stop', { reason: 'stopped' })
  }

  /** Replaces every process, to load a changed task file. The old processes finish their jobs. */
  reload(loader?: TaskFileLoader): void {
    this.#loader = loader
    this.#everReady = false
    this.#proven = false
    this.#failedStarts = 0
    for (const slot of this.#slots) {
      slot.failures = 0
      slot.worker?.end('drain')
      this.#start(slot)
    }
  }

  get #leaseMs(): number {
    return this.#options.leaseMs ?? DEFAULT_LEASE_MS
  }

  get #graceMs(): number {
    return this.#options.graceMs ?? DEFAULT_GRACE_MS
  }

  #start(slot: Slot): void {
    clearTimeout(slot.restart)
    slot.restart = undefined
    if (this.#outcome !== undefined) return
    try {
      const worker = new WorkerHandle(this.#startMessage(slot), this.#graceMs, {
        onReady: (message) => this.#ready(worker, message),
        onConsumers: () => void this.#leases.renew(this.#leaseMs),
        onRetiring: (reason) => {
          this.#log.info({ worker: worker.name, pid: worker.pid }, `worker is replaced: ${reason}`)
          if (slot.worker === worker) this.#startReplacement(slot, worker)
        },
        onFatal: (message) => this.#failToStart(fatalError(message)),
        onEnd: (end) => this.#ended(slot, worker, end),
      })
      slot.worker = worker
      slot.afterDeath = false
      this.#alive.add(worker)
    } catch (error) {
      const message = `A worker process could not be started: ${messageOf(error)}`
      this.#failToStart(new JobError('ZYQ_WORKER_START', message, { cause: error }))
      this.#startLater(slot)
    }
  }

  #startMessage(slot: Slot): StartMessage {
    const { taskFile, server, connection, queues, maxJobsPerWorker, maxMemoryPerWorker, resolveFrom } = this.#options
    const { concurrency, prefetch, stallMs, workerLog } = this.#options
    return {
      type: 'start',
      protocol: PROTOCOL,
      taskFile,
      loader: this.#loader,
      server,
      connection,
      resolveFrom,
      baseDir: dirname(taskFile),
      name: `${basename(taskFile)}.${slot.number}`,
      afterDeath: slot.afterDeath,
      waitsForBroker: !this.#options.burst,
      queues,
      concurrency,
      prefetch,
      leaseMs: this.#leaseMs,
      stallMs,
      graceMs: this.#graceMs,
      maxJobs: maxJobsPerWorker,
      maxMemory: maxMemoryPerWorker,
      log: workerLog,
    }
  }

  #ready(worker: WorkerHandle, { tasks }: Extract<ToSupervisor, { type: 'ready' }>): void {
    if (!this.#everReady && this.#outcome === undefined) {
      const brokers = [...new Set(worker.consumers.map(({ broker }) => broker))]
      this.#log.info({ tasks, processes: this.#slots.length, brokers }, 'workers are taking jobs')
    }
    this.#log.debug({ worker: worker.name, pid: worker.pid }, 'worker is ready')
    this.#everReady = true
  }

  /**
   * If no process was ready before, the others would fail for the same reason. Processes from before a reload may finish.
   */
  #failToStart(error: ZyQueueError): void {
    if (this.#everReady) return this.#log.error({ err: error }, 'worker could not start')
    const othersEnd = [...this.#alive].some(({ stage }) => stage === 'ending')
    this.#shutDown(othersEnd ? 'drain' : 'stop', { reason: 'failed', error })
  }

  #ended(slot: Slot, worker: WorkerHandle, end: WorkerEnd): void {
    this.#reclaim(worker, end)
    this.#alive.delete(worker)
    this.#total.jobs += worker.jobs
    this.#total.dead += worker.dead
    if (!end.expected && worker.killDecision === undefined && this.#outcome?.reason !== 'failed') {
      const jobs = end.killedJobs.map(({ jobId }) => jobId)
      this.#log.error({ worker: worker.name, pid: worker.pid, jobs }, `worker ended ${end.how}`)
    }
    if (end.cutShort.length > 0) {
      const jobs = end.cutShort.map(({ jobId }) => jobId)
      this.#log.warn(
        { worker: worker.name, pid: worker.pid, jobs },
        'worker did not end in time and was killed: its jobs return to their queues',
      )
    }
    if (slot.worker === worker) {
      slot.worker = undefined
      if (this.#outcome === undefined) this.#replace(slot, worker, end)
    }
    this.#endIfEmpty()
  }

  /** Ends the leases of a process and reports its lost deliveries: see `poison.ts`. */
  #reclaim({ consumers, killDecision }: WorkerHandle, { killedJobs }: WorkerEnd): void {
    for (const consumer of consumers) {
      void this.#leases.reclaim(consumer, lostDeliveries(consumer.consumerId, killDecision, killedJobs))
    }
  }

  #replace(slot: Slot, worker: WorkerHandle, { expected, how, killedJobs }: WorkerEnd): void {
    slot.afterDeath = !expected
    const failed = !expected && worker.killDecision === undefined
    if (!failed || worker.upMs > STABLE_MS) slot.failures = 0
    if (!failed) this.#start(slot)
    // A process that died while it ran a job did not fail at its start.
    else if (killedJobs.length > 0 || !this.#endAfterFailedStarts(worker, how)) this.#startLater(slot)
  }

  /** Starts the replacement of an ending process, with backoff if that process has not completed a job. */
  #startReplacement(slot: Slot, worker: WorkerHandle): void {
    if (hasWorked(worker)) {
      this.#proven = true
      slot.failures = 0
      return this.#start(slot)
    }
    this.#log.warn({ worker: worker.name, pid: worker.pid }, 'worker is replaced before it completed a job')
    this.#startLater(slot)
  }

  /** Starts a process at once after the first failure, and with backoff after more failures in a row. */
  #startLater(slot: Slot): void {
    if (this.#outcome !== undefined) return
    const delayMs = slot.failures === 0 ? 0 : backoffMs(RESTART, slot.failures - 1)
    slot.failures++
    slot.restart = setTimeout(() => this.#start(slot), delayMs)
  }

  /** Ends the supervisor and returns true if too many starts failed in a row and no process has ever worked. */
  #endAfterFailedStarts(worker: WorkerHandle, how: string): boolean {
    if (this.#proven || ++this.#failedStarts < MAX_FAILED_STARTS * this.#slots.length) return false
    const when = worker.consumers.length > 0 ? 'before they completed a job' : 'before they were ready'
    const message = `Worker processes ended ${how} ${when}, ${this.#failedStarts} times in a row.`
    this.#shutDown('stop', { reason: 'failed', error: new JobError('ZYQ_WORKER_START', message) })
    return true
  }

  #checkWorkers(): void {
    // If the supervisor was frozen or the host was asleep, the messages of the workers are not read yet.
    const skips = !this.#skipped && performance.now() - this.#checkedAt > 2 * CHECK_INTERVAL_MS
    this.#skipped = skips
    this.#checkedAt = performance.now()
    for (const worker of this.#alive) {
      if (!skips) this.#liveness.look(worker)
      if (worker.stage === 'ready' && hasWorked(worker)) this.#proven = true
    }
    if (this.#options.burst && !this.#checksBurst && this.#outcome === undefined) {
      this.#checksBurst = true
      void this.#endWhenDone().finally(() => {
        this.#checksBurst = false
      })
    }
  }

  async #endWhenDone(): Promise<void> {
    const workers = this.#slots.map(({ worker }) => worker)
    if (await isDone(workers, this.#leases, this.#log)) this.#shutDown('drain', { reason: 'burst' })
  }

  #shutDown(how: 'drain' | 'stop', outcome: SupervisorResult): void {
    // The first reason counts, but a stop replaces a drain.
    if (this.#outcome === undefined || (how === 'stop' && this.#outcome.reason !== 'failed')) this.#outcome = outcome
    for (const slot of this.#slots) clearTimeout(slot.restart)
    for (const worker of this.#alive) worker.end(how)
    this.#endIfEmpty()
  }

  #endIfEmpty(): void {
    if (this.#outcome !== undefined && this.#alive.size === 0) this.#finish?.()
  }
}

/** True if the process has completed a job or been ready for long. */
function hasWorked({ done, upMs }: WorkerHandle): boolean {
  return done > 0 || upMs > STABLE_MS
}

/** Creates a supervisor for a task file. Call `run` to start it. Throws `ConfigError`. */
export function createSupervisor(options: SupervisorOptions): Supervisor {
  return new Supervisor(options)
}

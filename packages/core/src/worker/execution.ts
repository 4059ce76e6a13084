import type { Delivery, Headers } from '../contract/index.ts'
import { runTracing, type RunTrace } from '../diagnostics.ts'
import { ERROR_CODES } from '../error-codes.ts'
import { CodecError, JobError, messageOf, ZyQueueError } from '../errors.ts'
import { DEFAULT_MAX_POSTPONE_MS } from '../limits.ts'
import { encodeFailure } from '../messages/failure.ts'
import { countHeader, decodeData, errorHeader, HEADER, timeHeader, withHeaders } from '../messages/envelope.ts'
import { compose, runSideOf, type Middleware, type RunMiddleware } from '../middleware/middleware.ts'
import { DEFAULT_RETRIES, retryOrFail } from '../middleware/retry.ts'
import { Discard, Postpone, Retry } from '../middleware/signals.ts'
import { timeout } from '../middleware/timeout.ts'
import { validate } from '../middleware/validate.ts'
import { property } from '../property.ts'
import type { AnyTask } from '../tasks/task.ts'
import { JobContext } from './job-context.ts'
import { Job, type UpdateSender, type WorkerContext } from './job.ts'
import { ACK, type Outcome } from './outcome.ts'
import { afterAttempt, decidePoison, DEFAULT_MAX_DELIVERIES, WITHOUT_KILLS } from './poison.ts'

/** A delivery that can run, with its task. */
export interface Work {
  readonly task: AnyTask
  readonly job: Job
  /** True if it must run alone in its process: see `poison.ts`. */
  readonly alone: boolean
  /** True if the broker of the job has delays. */
  readonly canDelay: boolean
}

/** A delivery that must not run. */
export interface Refusal {
  /** Absent if the worker does not know the task. */
  readonly task?: AnyTask
  readonly outcome: Outcome
}

/** Facts about the broker that a delivery comes from. */
export interface Origin {
  readonly updates?: UpdateSender
  /** True if every prefetched job of a dead worker counts a lost delivery. Default: false. */
  readonly countsAllHeld?: boolean
  /** Default: true. */
  readonly canDelay?: boolean
}

/** Runs an attempt. Returns the handler's result or a promise of it. */
type Pipeline = (worker: WorkerContext, job: Job) => unknown

/** Turns deliveries into jobs, runs them, and returns the outcome of each. It does not settle. */
export class Execution {
  readonly #worker: WorkerContext
  readonly #byName = new Map<string, AnyTask>()
  readonly #byQueue = new Map<string, AnyTask[]>()
  readonly #pipelines = new Map<AnyTask, Pipeline>()
  readonly #now: () => number

  /** `now`: the clock of the broker's delays, in ms since 1970. A test queue has its own. */
  constructor(
    tasks: readonly AnyTask[],
    worker: WorkerContext,
    middleware: readonly Middleware[],
    now: () => number = Date.now,
  ) {
    this.#worker = worker
    this.#now = now
    for (const task of tasks) {
      this.#byName.set(task.name, task)
      this.#byQueue.set(task.queue, [...(this.#byQueue.get(task.queue) ?? []), task])
      this.#pipelines.set(task, pipelineOf(task, middleware))
    }
  }

  /** The job of a delivery, or its outcome if it must not run. */
  open(delivery: Delivery, { updates, countsAllHeld = false, canDelay = true }: Origin = {}): Work | Refusal {
    const { headers, queue, deliveryCount } = delivery
    let task: AnyTask | undefined
    try {
      // Checked first, because the headers of an undecodable message may not name the task.
      if (delivery.undecodable !== undefined) {
        return this.#refuse(delivery, `ZYQ_DECODE: ${delivery.undecodable}`)
      }
      task = this.#taskFor(delivery)
      if (task === undefined) {
        const name = headers[HEADER.task]
        const what = name === undefined ? `the queue ${queue}` : `the task ${JSON.stringify(name)}`
        return this.#refuse(delivery, `ZYQ_TASK_UNKNOWN: no task of this worker runs jobs of ${what}`)
      }
      const expired = this.expire(delivery)
      if (expired !== undefined) return { task, outcome: expired }
      const maxDeliveries = task.options.maxDeliveries ?? DEFAULT_MAX_DELIVERIES
      const { lost, isPoison, alone } = decidePoison({ deliveryCount, headers, maxDeliveries, countsAllHeld })
      if (isPoison) {
        return this.#refuse(delivery, `ZYQ_JOB_POISON: ${describeLost(lost)}`, task)
      }
      const job = new Job({
        id: delivery.id,
        task: task.name,
        queue,
        data: decodeData(delivery.body),
        headers: withoutFailure(headers),
        attempt: countHeader(headers, HEADER.attempts, 0) + 1,
        deliveryCount,
        storedAtMs: delivery.storedAtMs,
        foreground: delivery.foreground,
        delivery,
        updates,
      })
      return { task, job, canDelay, alone }
    } catch (error) {
      if (error instanceof CodecError) return this.#refuse(delivery, `${error.code}: ${error.message}`, task)
      throw error
    }
  }

  /** The outcome of a job that must not run because it has expired, else undefined. */
  expire(delivery: Delivery): Outcome | undefined {
    if (!(HEADER.expiresAt in delivery.headers)) return undefined
    const ageMs = this.#now() - expiryOf(delivery.headers)
    if (ageMs < 0) return undefined
    const error = new JobError('ZYQ_JOB_EXPIRED', `The job expired ${Math.round(ageMs)} ms ago. It was not run.`)
    return this.#expired(delivery, error)
  }

  /**
   * Runs one attempt. Never throws or rejects. Returns a promise only if the handler does: a promise costs more than a
   * short job.
   */
  run(work: Work): Outcome | Promise<Outcome> {
    const { job } = work
    try {
      if (HEADER.killed in job.headers) {
        throw new JobError('ZYQ_JOB_TIMEOUT', 'The handler ran longer than its hard timeout; its process was killed.')
      }
      const result = runTracing.hasSubscribers ? this.#traced(work) : this.#attempt(work)
      return isThenable(result) ? this.#outcome(work, result) : success(result)
    } catch (error) {
      return this.#failure(work, error)
    }
  }

  #attempt({ task, job }: Work): unknown {
    return this.#pipelines.get(task)?.(new JobContext(this.#worker, job), job)
  }

  #traced(work: Work): Promise<unknown> {
    const { task, job } = work
    const { queue, id, attempt, headers, storedAtMs } = job
    const trace: RunTrace = { task: task.name, queue, id, attempt, headers, storedAtMs, worker: this.#worker.id }
    return runTracing.tracePromise(async () => this.#attempt(work), trace)
  }

  async #outcome(work: Work, running: PromiseLike<unknown>): Promise<Outcome> {
    try {
      return success(await running)
    } catch (error) {
      return this.#failure(work, error)
    }
  }

  #taskFor({ headers, queue }: Delivery): AnyTask | undefined {
    const name = headers[HEADER.task]
    if (name !== undefined) return this.#byName.get(name)
    const tasks = this.#byQueue.get(queue) ?? []
    return tasks.length === 1 ? tasks[0] : tasks.find((task) => task.name === queue)
  }

  #failure(work: Work, thrown: unknown): Outcome {
    const { task, job } = work
    const postponed = thrown instanceof Postpone ? this.#postpone(work, thrown) : undefined
    if (postponed !== undefined && 'kind' in postponed) return postponed
    const failure =
      postponed?.code === 'ZYQ_POSTPONE_LIMIT' ? postponed : applyRetryPolicy(task, job, postponed ?? thrown)
    // The caller receives the error at once and decides whether to call again.
    const error = job.foreground && failure instanceof Retry ? failureOf(failure) : failure
    if (error instanceof Discard) {
      return { kind: 'ack', end: 'discarded', reason: messageOf(error) }
    }
    if (error instanceof Retry) {
      const delayMs = error.delayMs ?? 0
      if (this.#expiresWithin(job, delayMs)) return this.#expiredAfter(job, delayMs, error.cause)
      const headers = this.#headersAfterFailure(job, error.cause)
      return { kind: 'release', end: 'retried', delayMs, headers, error: error.cause ?? error }
    }
    return {
      kind: 'reject',
      end: 'dead',
      error,
      reason: `${codeOf(error)}: ${errorHeader(error)}`,
      headers: withHeaders(job.headers, {
        // A job that an operator requeues starts from its first attempt.
        [HEADER.attempts]: undefined,
        [HEADER.postponedSince]: undefined,
        [HEADER.expiresAt]: undefined,
        ...WITHOUT_KILLS,
        [HEADER.attemptsMade]: String(job.attempt),
        [HEADER.error]: errorHeader(error),
        [HEADER.failure]: encodeFailure(task.name, job.attempt, { error }),
      }),
    }
  }

  /** Releases the job for later without counting an attempt. Returns an error if the job cannot wait that long. */
  #postpone(work: Work, { readyAtMs }: Postpone): Outcome | JobError {
    const { task, job, canDelay } = work
    if (job.foreground) return new JobError('ZYQ_JOB_FAILED', 'The handler postponed a job with a waiting caller.')
    if (!canDelay) return new JobError('ZYQ_JOB_FAILED', 'The handler postponed a job, but its broker has no delays.')
    const since = timeHeader(job.headers, HEADER.postponedSince, this.#now())
    const { maxPostponeMs = DEFAULT_MAX_POSTPONE_MS } = task.options
    // A `Postpone` of another copy of this package may have no valid time.
    if (!Number.isFinite(readyAtMs))
      return new JobError('ZYQ_JOB_FAILED', 'The handler postponed the job without a time.')
    const delayMs = Math.max(0, readyAtMs - Date.now())
    if (this.#expiresWithin(job, delayMs)) return this.#expiredAfter(job, delayMs)
    if (this.#now() + delayMs > since + maxPostponeMs) {
      const text = `The handler postponed the job until more than ${maxPostponeMs} ms after the first time.`
      return new JobError('ZYQ_POSTPONE_LIMIT', text)
    }
    const headers = withHeaders(job.headers, {
      [HEADER.postponedSince]: String(since),
      ...afterAttempt(job.headers),
    })
    return { kind: 'release', end: 'postponed', delayMs, headers }
  }

  #expiresWithin({ headers }: Job, delayMs: number): boolean {
    return HEADER.expiresAt in headers && this.#now() + delayMs >= expiryOf(headers)
  }

  /** The end of a job whose next attempt would come too late. */
  #expiredAfter(job: Job, delayMs: number, cause?: unknown): Outcome {
    const text = `The job expires before its next attempt, which would begin in ${Math.round(delayMs)} ms.`
    const error = new JobError('ZYQ_JOB_EXPIRED', text, cause === undefined ? {} : { cause })
    return this.#expired(job, error)
  }

  /** A caller that waits learns of the end. Other jobs are deleted. */
  #expired({ foreground, headers }: Pick<Delivery, 'foreground' | 'headers'>, error: JobError): Outcome {
    if (foreground !== true) return { kind: 'ack', end: 'expired', error }
    return { kind: 'reject', end: 'dead', error, reason: `${error.code}: ${error.message}`, headers }
  }

  #headersAfterFailure(job: Job, cause: unknown) {
    return withHeaders(job.headers, {
      [HEADER.attempts]: String(job.attempt),
      ...afterAttempt(job.headers),
      [HEADER.error]: cause === undefined ? undefined : errorHeader(cause),
    })
  }

  #refuse(delivery: Delivery, reason: string, task?: AnyTask): Refusal {
    const headers = withHeaders(delivery.headers, {
      [HEADER.attempts]: undefined,
      [HEADER.expiresAt]: undefined,
      ...WITHOUT_KILLS,
      [HEADER.failure]: encodeFailure(task?.name, timeHeader(delivery.headers, HEADER.attempts, 0)),
    })
    return { ...(task && { task }), outcome: { kind: 'reject', end: 'dead', reason, headers } }
  }
}

/** When a job expires, in ms since 1970. A job with an invalid header does not expire. */
function expiryOf(headers: Headers): number {
  return timeHeader(headers, HEADER.expiresAt, Number.POSITIVE_INFINITY)
}

/** A requeued dead letter still has the facts about its former failure. The job runs without them. */
function withoutFailure(headers: Headers): Headers {
  if (!(HEADER.failure in headers)) return headers
  return withHeaders(headers, {
    [HEADER.failure]: undefined,
    [HEADER.attemptsMade]: undefined,
    [HEADER.error]: undefined,
  })
}

/** A lost delivery may also be one whose handler ended after its message timeout, so its worker may be alive. */
function describeLost(lost: number): string {
  const what = lost === 1 ? '1 delivery was lost: its worker' : `${lost} deliveries were lost: their workers`
  return `${what} died, or held the job longer than the lease or message timeout`
}

function failureOf({ cause }: Retry): unknown {
  return (
    cause ??
    new JobError('ZYQ_JOB_FAILED', 'The handler asked for a retry, but a job with a waiting caller is not retried.')
  )
}

/** Retries are outermost and cost nothing if the attempt succeeds. */
function applyRetryPolicy({ options }: AnyTask, job: Job, thrown: unknown): unknown {
  const { retries = DEFAULT_RETRIES } = options
  return retryOrFail(typeof retries === 'number' ? { limit: retries } : retries, job, thrown)
}

/**
 * The code at the start of a dead letter's reason. An unknown code (changed, or of a newer version) becomes
 * `ZYQ_JOB_FAILED`.
 */
function codeOf(error: unknown): string {
  const code = error instanceof ZyQueueError ? property(error, 'code') : undefined
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code) ? code : 'ZYQ_JOB_FAILED'
}

/** From the outside: soft timeout, the users' middleware, schema, handler. */
function pipelineOf(task: AnyTask, middleware: readonly Middleware[]): Pipeline {
  const { timeoutMs, data, middleware: own = [] } = task.options
  const chain: RunMiddleware[] = []
  if (timeoutMs !== undefined) chain.push(timeout(timeoutMs))
  chain.push(...[...middleware, ...own].flatMap((each) => runSideOf(each) ?? []))
  if (data !== undefined) chain.push(validate(data))
  const handle: Pipeline = (worker, job) => task.handler?.run(worker, job)
  if (chain.length === 0) return handle
  const wrapped = compose(chain, async ({ job, worker }) => handle(worker, job))
  return (worker, job) => wrapped({ job, worker })
}

function success(result: unknown): Outcome {
  return result === undefined ? ACK : { kind: 'ack', end: 'done', result }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  const mayBe = typeof value === 'function' || (typeof value === 'object' && value !== null)
  return mayBe && 'then' in value && typeof value.then === 'function'
}

import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Headers, OutboundMessage, QueueSpec } from '../contract/index.ts'
import type { BrokerChoice } from '../connection/discovery.ts'
import { inherit } from '../connection/inherit.ts'
import { ConfigError } from '../errors.ts'
import { CHOICE, DIVERT } from '../internals.ts'
import { submitTracing, type SubmitTrace } from '../diagnostics.ts'
import { emptyHeaders, encodeData, HEADER, NO_HEADERS, withHeaders } from '../messages/envelope.ts'
import { createJobIds } from '../messages/job-id.ts'
import type { JobData } from '../messages/json-data.ts'
import { callJob, callsUnsupported, type CallOptions } from '../producer/call.ts'
import { submitSideOf, type Submission, type SubmitMiddleware } from '../middleware/middleware.ts'
import type { JobHandle, JobHandles } from '../producer/job-handles.ts'
import type { Producer } from '../producer/producer.ts'
import { producerFor, withProducer } from '../producer/producers.ts'
import { SubmitError, type FailedSubmission } from '../producer/submit-error.ts'
import { submitStream, type SubmitManyOptions } from '../producer/submit-stream.ts'
import type { Job, WorkerContext } from '../worker/job.ts'
import { checkAddedHeaders } from './headers.ts'
import { refuseWhileLoading } from './loading.ts'
import { checkName } from './names.ts'
import {
  checkCallTimeout,
  NO_OPTIONS,
  priorityLevel,
  splitSubmitOptions,
  splitTaskOptions,
  type BatchOptions,
  type CheckedSubmitOptions,
  type CheckedTaskOptions,
  type SplitOptions,
  type SubmitOptions,
  type TaskOptions,
} from './options.ts'
import { validate } from '../messages/schema.ts'
import { batchOf, refuseHoles, type CallArguments, type SubmitArguments } from './submit-arguments.ts'
import { checkSubmitSupport, checkTaskSupport } from './support.ts'

/** Runs the jobs of a task. */
export type Handler<Data, Result> = (worker: WorkerContext, job: Job<Data>) => Result | Promise<Result>

/** A handler without the type of its data, which only the schema and the handler know. */
export interface AnyHandler<Result = unknown> {
  run(worker: WorkerContext, job: Job): Result | Promise<Result>
}

/** A task with any data type. */
export type AnyTask = Task

/** The producer and queue of a submit, and how its messages are made. */
interface Route {
  readonly producer: Producer
  readonly queue: QueueSpec
  /** `added`: headers in addition to those of the options. */
  readonly message: (id: string, data: unknown, added: Headers | undefined) => OutboundMessage
}

const nextId = createJobIds()

/** Submits jobs to a queue, and has the handler that runs them. */
export class Task<Data = unknown, Result = unknown> {
  readonly name: string
  /** The queue of its jobs. */
  readonly queue: string
  readonly options: CheckedTaskOptions
  /** Options for its kind of broker. */
  readonly brokerOptions: Readonly<Record<string, unknown>>
  /** Absent for a `remoteTask`. */
  readonly handler: AnyHandler<Result> | undefined
  readonly #submitSides: readonly SubmitMiddleware[]
  readonly #queues = new Map<string, QueueSpec>()
  #diverted: BrokerChoice | undefined
  /** The producer whose broker passed `checkTaskSupport`. */
  #servedBy: Producer | undefined
  /** The route of submits without options, the usual case. */
  #plainRoute: Route | undefined

  /** Use `queueJob` or `remoteTask`. Throws `ConfigError`. */
  constructor(name: string, options: TaskOptions & { readonly data?: StandardSchemaV1 }, handler?: AnyHandler<Result>) {
    const { core, broker } = splitTaskOptions(options)
    this.name = name
    this.queue = core.queue ?? name
    this.options = core
    this.brokerOptions = broker
    this.handler = handler
    this.#submitSides = (core.middleware ?? []).flatMap((middleware) => submitSideOf(middleware) ?? [])
    checkName('task', this.name)
    checkName('queue', this.queue)
  }

  /** The broker of the options, or of the test queue. */
  get [CHOICE](): BrokerChoice {
    return this.#diverted ?? { server: this.options.server, connection: this.options.connection }
  }

  /** The task's queue in the form that the broker receives. */
  get queueSpec(): QueueSpec {
    return this.#queueSpec(this.queue, this.brokerOptions)
  }

  /**
   * Submits one job. Resolves when the broker has stored it. Submits of one event loop turn are sent together. A task without
   * data needs no argument; its handler receives `null`.
   *
   * Rejects with `CodecError` (`ZYQ_VALIDATION`, `ZYQ_ENCODE`), `ConfigError`, or `BrokerError`: `ZYQ_OUTCOME_UNKNOWN` if the
   * connection was lost before the answer, another code if the job was not stored. If the broker was reachable before and is
   * unavailable, the submit waits for it for about ten seconds. Rejects with `ConfigError` (`ZYQ_TASK_FILE`) while a worker or
   * command loads its task file.
   *
   * The data is JSON. A list is refused (`ZYQ_CONFIG`): submit it as a batch, or with `submitMany`.
   */
  submit(...submission: SubmitArguments<Data>): Promise<JobHandle>
  /**
   * Submits a list of jobs as one batch. Resolves to one handle for each when the broker has stored all.
   *
   * If one job does not fit the schema, none is sent. Rejects with `SubmitError` if only some were stored, and otherwise like
   * a submit of one job. A task that is declared with `server: 'gearman'` does not need `batch`.
   */
  submit(list: readonly JobData<Data>[], options: BatchOptions): Promise<JobHandle[]>
  async submit(data?: unknown, options?: SubmitOptions | BatchOptions): Promise<JobHandle | JobHandle[]> {
    refuseWhileLoading(this.name)
    const checked = splitSubmitOptions(options, 'submit')
    const list = batchOf({ name: this.name, server: this.options.server }, data, checked.core.batch)
    return withProducer<JobHandle | JobHandle[]>(this.#choiceOf(checked), (producer) => {
      const route = this.#route(producer, checked)
      return list === undefined
        ? this.#traced<JobHandle | JobHandle[]>(route, 1, (added) => this.#submitOne(route, data, added))
        : this.#traced(route, list.length, (added) => this.#submitList(route, list, added))
    })
  }

  /**
   * Submits the items of an iterable, in batches and with a bounded number in flight: the source is read no faster than the
   * broker stores. Resolves to the handles when the broker has stored all.
   *
   * The first failure ends it: it waits for the batches in flight and rejects with `SubmitError`.
   */
  async submitMany(
    source: Iterable<JobData<Data>> | AsyncIterable<JobData<Data>>,
    options: SubmitManyOptions = {},
  ): Promise<JobHandles> {
    refuseWhileLoading(this.name)
    const { onProgress, ...submitOptions } = options
    const checked = splitSubmitOptions(submitOptions, 'submitMany')
    refuseHoles(source, 'submitMany')
    const route = this.#route(await producerFor(this.#choiceOf(checked)), checked)
    return this.#traced(route, undefined, (added) =>
      submitStream({
        source,
        ...route,
        task: this.name,
        hooks: this.options.hooks,
        message: (id, data) => this.#message(route, id, data, added),
        ...(onProgress === undefined ? {} : { onProgress }),
      }),
    )
  }

  /**
   * Submits one job and waits for its end. Resolves to the handler's result. The job is not stored durably and not retried: it
   * ends with its caller, and the caller receives a failure at once.
   *
   * Rejects with `JobError`: `ZYQ_JOB_FAILED` with the handler's error, `ZYQ_JOB_TIMEOUT` after `timeoutMs`. Rejects with
   * `BrokerError` (`ZYQ_OUTCOME_UNKNOWN`) if the connection is lost, with `ConfigError` (`ZYQ_UNSUPPORTED`) if the broker has no
   * calls, and otherwise like `submit`.
   */
  call(...call: CallArguments<Data>): Promise<Result>
  async call(data?: unknown, options: CallOptions = {}): Promise<unknown> {
    refuseWhileLoading(this.name)
    const { timeoutMs, signal, onProgress, onData, onWarning, ...submitOptions } = options
    checkCallTimeout(timeoutMs)
    const checked = splitSubmitOptions(submitOptions, 'call')
    return withProducer(this.#choiceOf(checked), async (producer) => {
      const { connection } = producer
      if (connection.broker.calls === undefined) throw callsUnsupported(connection.broker.name)
      const route = this.#route(producer, checked)
      return this.#traced(route, 1, async (added) => {
        const message = await this.#message(route, nextId(), data, added)
        return callJob(connection, route.queue, message, { timeoutMs, signal, onProgress, onData, onWarning })
      })
    })
  }

  /**
   * Sends this task's jobs to another broker, whatever the options of the task or a submit are, until it is called with
   * `undefined`. For `createTestQueue`.
   */
  [DIVERT](choice: BrokerChoice | undefined): void {
    if (choice !== undefined && this.#diverted !== undefined) {
      throw new ConfigError('ZYQ_CONFIG', `The task ${this.name} is in another test queue. Close that queue first.`)
    }
    this.#diverted = choice
  }

  /** Publishes the submit to `zyqueue.submit` if the channel has a subscriber. A subscriber may add headers. */
  #traced<Done>(
    route: Route,
    jobs: number | undefined,
    submit: (added: Headers | undefined) => Promise<Done>,
  ): Promise<Done> {
    if (!submitTracing.hasSubscribers) return submit(undefined)
    const { name: broker } = route.producer.connection.broker
    const trace: SubmitTrace = { task: this.name, queue: route.queue.name, broker, jobs, headers: emptyHeaders() }
    return submitTracing.tracePromise(async () => {
      checkAddedHeaders(trace.headers)
      return submit(trace.headers)
    }, trace)
  }

  async #submitOne(route: Route, data: unknown, added: Headers | undefined): Promise<JobHandle> {
    const message = await this.#message(route, nextId(), data, added)
    const [result] = await route.producer.publish(route.queue, [message], this.options.hooks)
    if (result?.status !== 'stored') throw result?.error
    return this.#handle(message.id, route)
  }

  async #submitList(route: Route, list: readonly unknown[], added: Headers | undefined): Promise<JobHandle[]> {
    const messages = await this.#messages(route, list, added)
    const results = await route.producer.publishAll(route.queue, messages, this.options.hooks)
    const stored: JobHandle[] = []
    const refused: FailedSubmission[] = []
    const unknown: FailedSubmission[] = []
    for (const [index, { id }] of messages.entries()) {
      const result = results[index]
      if (result?.status === 'stored') stored.push(this.#handle(id, route))
      else (result?.status === 'unknown' ? unknown : refused).push({ index, error: result?.error })
    }
    const failure = refused[0] ?? unknown[0]
    if (failure === undefined) return stored
    if (stored.length === 0 && (refused.length === 0 || unknown.length === 0)) throw failure.error
    throw new SubmitError(stored, refused, unknown, failure.error)
  }

  #choiceOf({ core }: SplitOptions<CheckedSubmitOptions>): BrokerChoice {
    const { server, connection } = core
    if (this.#diverted !== undefined || (server === undefined && connection === undefined)) return this[CHOICE]
    return inherit({ server, connection }, this[CHOICE], `the task ${this.name}`)
  }

  #route(producer: Producer, options: SplitOptions<CheckedSubmitOptions>): Route {
    if (options !== NO_OPTIONS) return this.#newRoute(producer, options)
    if (this.#plainRoute?.producer !== producer) this.#plainRoute = this.#newRoute(producer, options)
    return this.#plainRoute
  }

  #newRoute(producer: Producer, { core, broker }: SplitOptions<CheckedSubmitOptions>): Route {
    const { broker: served } = producer.connection
    if (core.queue !== undefined) checkName('queue', core.queue)
    const queue = this.#queueSpec(core.queue ?? this.queue, this.brokerOptions)
    if (this.#servedBy !== producer) checkTaskSupport(this, served)
    this.#servedBy = producer
    checkSubmitSupport(this.name, queue, core, served)
    return { producer, queue, message: this.#messageMaker(queue, core, broker) }
  }

  #messageMaker(
    queue: QueueSpec,
    options: CheckedSubmitOptions,
    broker: Readonly<Record<string, unknown>>,
  ): Route['message'] {
    const { name } = queue
    const headers = this.#headers(queue, options)
    const fixedDelayMs = Math.ceil(options.delayMs ?? 0)
    const { readyAtMs, expiresMs } = options
    const delayOf = (): number =>
      readyAtMs === undefined ? fixedDelayMs : Math.ceil(Math.max(0, readyAtMs - Date.now()))
    const priority = priorityLevel(options.priority ?? this.options.priority)
    // Both objects are written out: object spread would cost more than the rest of a submit.
    const withAdded = (added: Headers | undefined): Headers => {
      if (expiresMs !== undefined) {
        return withHeaders(headers, { ...added, [HEADER.expiresAt]: String(Date.now() + expiresMs) })
      }
      return added ? withHeaders(headers, added) : headers
    }
    if (Object.keys(broker).length === 0) {
      return (id, data, added) => {
        return { queue: name, id, body: encodeData(data), headers: withAdded(added), delayMs: delayOf(), priority }
      }
    }
    return (id, data, added) => {
      const [body, delayMs] = [encodeData(data), delayOf()]
      return { queue: name, id, body, headers: withAdded(added), delayMs, priority, options: broker }
    }
  }

  #headers(queue: QueueSpec, { headers, retries }: CheckedSubmitOptions) {
    if (headers === undefined && retries === undefined && queue.name === this.name) return NO_HEADERS
    return withHeaders(NO_HEADERS, {
      ...headers,
      [HEADER.task]: queue.name === this.name ? undefined : this.name,
      [HEADER.retries]: retries === undefined ? undefined : String(retries),
    })
  }

  /** `which` names the item of a list, if there are several. */
  #message(
    route: Route,
    id: string,
    data: unknown,
    added: Headers | undefined,
    which = '',
  ): OutboundMessage | Promise<OutboundMessage> {
    if (this.#submitSides.length === 0) return this.#validMessage(route, id, data, added, which)
    return this.#passSubmitSides(route, data, added).then((submission) =>
      this.#validMessage(route, id, submission.data, submission.headers, which),
    )
  }

  async #passSubmitSides(route: Route, data: unknown, added: Headers | undefined): Promise<Submission> {
    const headers: Record<string, string> = Object.assign(emptyHeaders(), added)
    const submission: Submission = { task: this.name, queue: route.queue.name, data, headers }
    for (const submitSide of this.#submitSides) await submitSide(submission)
    checkAddedHeaders(headers)
    return submission
  }

  #validMessage(
    route: Route,
    id: string,
    data: unknown,
    added: Headers | undefined,
    which: string,
  ): OutboundMessage | Promise<OutboundMessage> {
    const { data: schema } = this.options
    if (schema === undefined) return route.message(id, data, added)
    // The input is sent, not the output of the schema: the worker runs the schema again.
    const valid = validate(schema, data, `The data for ${this.name}${which}`)
    return valid instanceof Promise ? valid.then(() => route.message(id, data, added)) : route.message(id, data, added)
  }

  /**
   * Makes all messages of a list before one is sent. The callback is async, so that a synchronous error leaves no
   * unhandled promise.
   */
  #messages(route: Route, list: readonly unknown[], added: Headers | undefined): Promise<readonly OutboundMessage[]> {
    const which = list.length === 1 ? '' : ', item '
    return Promise.all(
      list.map(async (data, at) => this.#message(route, nextId(), data, added, which && `${which}${at}`)),
    )
  }

  #handle(id: string, route: Route): JobHandle {
    return { id, task: this.name, queue: route.queue.name }
  }

  /** Returns the same object for the same queue: the producer compares queues by identity. */
  #queueSpec(name: string, options: Readonly<Record<string, unknown>>): QueueSpec {
    let spec = this.#queues.get(name)
    if (spec === undefined) {
      const unnamed = name === this.name && this.options.queue === undefined
      this.#queues.set(name, (spec = unnamed ? { name, unnamed, options } : { name, options }))
    }
    return spec
  }
}

import type { Delivery, Headers, JobUpdate } from '../contract/index.ts'
import { ConfigError, messageOf } from '../errors.ts'
import { ABORT } from '../internals.ts'
import type { Logger } from '../logger.ts'
import { encodeData } from '../messages/envelope.ts'

/** The worker that runs a job: the first argument of a handler. */
export interface WorkerContext {
  /** Unique among all workers of the broker. */
  readonly id: string
  /** For people: `<task file>.<n>` of a supervised worker. */
  readonly name: string
  readonly log: Logger
}

/** The fields of a job. */
export interface JobFields<Data> {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly data: Data
  readonly headers: Headers
  readonly attempt: number
  readonly deliveryCount: number
  readonly storedAtMs?: number | undefined
  readonly foreground?: boolean | undefined
  /** The delivery of the job. Required for updates to its caller. */
  readonly delivery?: Delivery
  readonly updates?: UpdateSender | undefined
}

/** Sends the updates of a running job to its caller, if there is one. */
export interface UpdateSender {
  sendUpdate(delivery: Delivery, update: JobUpdate): void
}

/** One attempt at a submitted job: the second argument of a handler. */
export class Job<Data = unknown> {
  readonly id: string
  /** The name of the task. */
  readonly task: string
  readonly queue: string
  /** The submitted data. If the task has a schema: the output of the schema. */
  data: Data
  /** Headers of the submission and of core. */
  readonly headers: Headers
  /** 1 on the first attempt. Failed attempts count; workers that died do not. */
  readonly attempt: number
  /** The number of workers that died while they held the job. */
  readonly deliveryCount: number
  /** When the broker stored the job, in ms since 1970. Undefined if the broker does not know. */
  readonly storedAtMs: number | undefined
  /** True if a caller waits for the job's end (`task.call`). Such a job is not retried: its caller receives the error. */
  readonly foreground: boolean
  readonly #delivery: Delivery | undefined
  readonly #updates: UpdateSender | undefined
  #controller: AbortController | undefined
  #aborted: { reason: unknown } | undefined

  constructor(fields: JobFields<Data>) {
    this.id = fields.id
    this.task = fields.task
    this.queue = fields.queue
    this.data = fields.data
    this.headers = fields.headers
    this.attempt = fields.attempt
    this.deliveryCount = fields.deliveryCount
    this.storedAtMs = fields.storedAtMs
    this.foreground = fields.foreground ?? false
    this.#delivery = fields.delivery
    this.#updates = fields.updates
  }

  /**
   * Aborted at the soft timeout, and if the worker stops before the handler ends. Pass it to the calls that the handler
   * waits for.
   */
  get signal(): AbortSignal {
    // Created on first use, because most handlers do not use it.
    this.#controller ??= new AbortController()
    if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason)
    return this.#controller.signal
  }

  /**
   * Sends the progress of the job to its caller: `done` of `of`, whole numbers from 0 on. Without a caller it does nothing.
   * Throws `ConfigError` (`ZYQ_CONFIG`).
   */
  progress(done: number, of: number): void {
    if (![done, of].every((number) => Number.isSafeInteger(number) && number >= 0)) {
      throw new ConfigError('ZYQ_CONFIG', 'job.progress: both numbers must be whole and not below 0.')
    }
    this.#sendUpdate({ kind: 'progress', done, of })
  }

  /** Sends a part of the result to the job's caller. Throws `CodecError` (`ZYQ_ENCODE`). */
  send(data: unknown): void {
    this.#sendUpdate({ kind: 'data', body: encodeData(data) })
  }

  /** Sends a warning to the job's caller; the job goes on. */
  warn(text: string): void {
    this.#sendUpdate({ kind: 'warning', text: typeof text === 'string' ? text : messageOf(text) })
  }

  /** Aborts the signal; for workers and the middleware of core. */
  [ABORT](reason: unknown): void {
    this.#aborted ??= { reason }
    this.#controller?.abort(reason)
  }

  #sendUpdate(update: JobUpdate): void {
    if (this.#delivery !== undefined) this.#updates?.sendUpdate(this.#delivery, update)
  }
}

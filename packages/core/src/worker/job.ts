import type { Delivery, Headers, JobUpdate } from '../contract/index.ts'
import { ConfigError, messageOf } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { encodeData } from '../messages/envelope.ts'

/** The worker that runs a job, as its handler sees it. */
export interface WorkerContext {
  /** Unique among all workers of the broker. */
  readonly id: string
  /** For people: `<task file>.<n>` of a supervised worker. */
  readonly name: string
  readonly log: Logger
}

/** What a job is made of. */
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
  /** Its delivery, and what sends updates to its caller. */
  readonly delivery?: Delivery
  readonly updates?: UpdateSender | undefined
}

/** Sends the updates of a running job to its caller, if there is one. */
export interface UpdateSender {
  sendUpdate(delivery: Delivery, update: JobUpdate): void
}

/** One attempt at a submitted unit of work, in the hands of its handler. */
export class Job<Data = unknown> {
  readonly id: string
  /** The name of the task. */
  readonly task: string
  readonly queue: string
  /** What was submitted. With a schema: what the schema made of it. */
  data: Data
  /** Headers of the submission and of core. */
  readonly headers: Headers
  /** 1 on the first attempt; attempts that failed count, workers that died do not. */
  readonly attempt: number
  /** How many workers died holding the job before this one. */
  readonly deliveryCount: number
  /** When the broker stored it, in ms since 1970, where the broker knows. */
  readonly storedAtMs: number | undefined
  /** Whether its submitter is known to wait for its end (`task.call`): a failure is theirs to know at once, and not retried. */
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

  /** Aborted at the soft timeout, and when the worker has to stop before the handler has ended. Pass it on to what you wait for. */
  get signal(): AbortSignal {
    // Made when it is asked for: most handlers never do.
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

  /** Aborts the signal; for workers and middleware. */
  abort(reason: unknown): void {
    this.#aborted ??= { reason }
    this.#controller?.abort(reason)
  }

  #sendUpdate(update: JobUpdate): void {
    if (this.#delivery !== undefined) this.#updates?.sendUpdate(this.#delivery, update)
  }
}

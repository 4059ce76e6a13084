import type { Delivery, Headers, News } from '../broker/contract.ts'
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
  /** Its delivery, and who tells whoever waits for that. */
  readonly delivery?: Delivery
  readonly teller?: Teller | undefined
}

/** Passes on what a job tells of itself while it runs. */
export interface Teller {
  tell(delivery: Delivery, news: News): void
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
  readonly #teller: Teller | undefined
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
    this.#teller = fields.teller
  }

  /** Aborted at the soft timeout, and when the worker has to stop before the handler has ended. Pass it on to what you wait for. */
  get signal(): AbortSignal {
    // Made when it is asked for: most handlers never do.
    this.#controller ??= new AbortController()
    if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason)
    return this.#controller.signal
  }

  /**
   * Tells whoever waits for the job how far it is: `done` of `of`, whole numbers from 0 on. Nothing happens where nobody waits.
   * Throws `ConfigError` (`ZYQ_CONFIG`).
   */
  progress(done: number, of: number): void {
    if (![done, of].every((number) => Number.isSafeInteger(number) && number >= 0)) {
      throw new ConfigError('ZYQ_CONFIG', 'job.progress: both numbers are to be whole, and not below 0.')
    }
    this.#tell({ kind: 'progress', done, of })
  }

  /** Sends a part of the result to whoever waits for the job. Throws `CodecError` (`ZYQ_ENCODE`). */
  send(data: unknown): void {
    this.#tell({ kind: 'data', body: encodeData(data) })
  }

  /** Warns whoever waits for the job; it goes on. */
  warn(text: string): void {
    this.#tell({ kind: 'warning', text: typeof text === 'string' ? text : messageOf(text) })
  }

  /** Aborts the signal; for workers and middleware. */
  abort(reason: unknown): void {
    this.#aborted ??= { reason }
    this.#controller?.abort(reason)
  }

  #tell(news: News): void {
    if (this.#delivery !== undefined) this.#teller?.tell(this.#delivery, news)
  }
}

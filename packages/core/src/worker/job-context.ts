import type { Logger } from '../logger.ts'
import type { Job, WorkerContext } from './job.ts'

/** The worker as the handler of one job sees it: the lines of its log name the job. */
export class JobContext implements WorkerContext {
  readonly #worker: WorkerContext
  readonly #job: Job
  #log: Logger | undefined

  constructor(worker: WorkerContext, job: Job) {
    this.#worker = worker
    this.#job = job
  }

  get id(): string {
    return this.#worker.id
  }

  get name(): string {
    return this.#worker.name
  }

  get log(): Logger {
    // Created on first use, because many handlers log nothing.
    this.#log ??= this.#worker.log.child({ task: this.#job.task, job: this.#job.id, attempt: this.#job.attempt })
    return this.#log
  }
}

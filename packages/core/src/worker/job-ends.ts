import type { Delivery } from '../contract/index.ts'
import type { Logger } from '../logger.ts'
import type { AnyTask } from '../tasks/task.ts'
import { logJobEnd } from './job-end-log.ts'
import type { Outcome } from './outcome.ts'
import { WorkerReports, type AttemptFacts } from './worker-events.ts'

/** Counts, logs and reports the ends of a worker's jobs. */
export class JobEnds {
  /** Its listeners. */
  readonly events: WorkerReports
  readonly #log: Logger
  #jobs = 0
  #dead = 0
  #expired = 0

  constructor(log: Logger) {
    this.#log = log
    this.events = new WorkerReports(log)
  }

  /** The number of jobs that were done, discarded, expired or became dead letters. */
  get jobs(): number {
    return this.#jobs
  }

  /** The number of jobs that became dead letters. */
  get dead(): number {
    return this.#dead
  }

  /** The number of jobs that have expired. */
  get expired(): number {
    return this.#expired
  }

  /** `attempt` is absent if there was none. An outcome without `end` is ignored. */
  report(delivery: Delivery, task: AnyTask | undefined, outcome: Outcome, attempt?: AttemptFacts): void {
    if (outcome.kind !== 'release') this.#jobs++
    if (outcome.kind === 'reject') this.#dead++
    if (outcome.end === 'expired') this.#expired++
    logJobEnd(this.#log, delivery, task, outcome, attempt)
    this.events.ended(delivery, task, outcome, attempt)
  }

  /** Writes the last line of a worker. */
  logTotal(): void {
    this.#log.info({ jobs: this.#jobs, dead: this.#dead }, describeTotal(this))
  }
}

/** The last line of a worker or supervisor. */
export function describeTotal({ jobs, dead }: Pick<JobEnds, 'jobs' | 'dead'>): string {
  return `stopped after ${jobs} ${jobs === 1 ? 'job' : 'jobs'}, ${dead} dead`
}

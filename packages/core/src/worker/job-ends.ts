import type { Delivery } from '../contract/index.ts'
import type { Logger } from '../logger.ts'
import type { AnyTask } from '../tasks/task.ts'
import { publishJobEnd, type AttemptFacts } from './job-end-event.ts'
import { logJobEnd } from './job-end-log.ts'
import type { Outcome } from './outcome.ts'

/** Counts, logs and publishes the ends of a worker's jobs. */
export class JobEnds {
  readonly #log: Logger
  #jobs = 0
  #dead = 0

  constructor(log: Logger) {
    this.#log = log
  }

  /** The number of jobs that were done, discarded or became dead letters. */
  get jobs(): number {
    return this.#jobs
  }

  /** The number of jobs that became dead letters. */
  get dead(): number {
    return this.#dead
  }

  /** `attempt` is absent if there was none. An outcome without `end` is ignored. */
  report(delivery: Delivery, task: AnyTask | undefined, outcome: Outcome, attempt?: AttemptFacts): void {
    if (outcome.kind !== 'release') this.#jobs++
    if (outcome.kind === 'reject') this.#dead++
    logJobEnd(this.#log, delivery, task, outcome, attempt)
    publishJobEnd(delivery, task, outcome, attempt)
  }
}

/** The last line of a worker or supervisor. */
export function describeTotal({ jobs, dead }: Pick<JobEnds, 'jobs' | 'dead'>): string {
  return `stopped after ${jobs} ${jobs === 1 ? 'job' : 'jobs'}, ${dead} dead`
}

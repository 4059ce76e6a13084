import type { Delivery } from '../contract/index.ts'
import { jobChannel, type JobEndEvent } from '../diagnostics.ts'
import type { AnyTask } from '../tasks/task.ts'
import type { Outcome } from './outcome.ts'

/** An attempt, if there was one. */
interface AttemptFacts {
  readonly attempt: number
  readonly durationMs: number
}

/** Counts and publishes the ends of a worker's jobs. */
export class JobEnds {
  #expired = 0

  /** The number of jobs that have expired. */
  get expired(): number {
    return this.#expired
  }

  /**
   * Reports the end of an attempt, or of a job that was refused or expired without one. A job that goes back unstarted has no
   * end. Makes no event if the channel has no subscriber.
   */
  report(
    { id, queue }: Delivery,
    task: AnyTask | undefined,
    outcome: Outcome,
    { attempt, durationMs }: AttemptFacts = { attempt: 0, durationMs: 0 },
  ): void {
    if (outcome.end === 'expired') this.#expired++
    if (!jobChannel.hasSubscribers || outcome.end === undefined) return
    const event: JobEndEvent = {
      end: outcome.end,
      task: task?.name,
      queue,
      id,
      attempt,
      durationMs,
      error: outcome.error ?? ('reason' in outcome ? outcome.reason : undefined),
      delayMs: outcome.kind === 'release' ? outcome.delayMs : 0,
    }
    jobChannel.publish(event)
  }
}

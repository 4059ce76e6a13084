import type { Delivery } from '../contract/index.ts'
import { jobChannel, type JobEndEvent } from '../diagnostics.ts'
import type { AnyTask } from '../tasks/task.ts'
import type { Outcome } from './outcome.ts'

/** An attempt, if there was one. */
export interface AttemptFacts {
  readonly attempt: number
  readonly durationMs: number
}

/**
 * Publishes the end of an attempt or refusal, if the channel has a subscriber. A job that goes back unstarted has no end.
 */
export function publishJobEnd(
  { id, queue }: Delivery,
  task: AnyTask | undefined,
  outcome: Outcome,
  { attempt, durationMs }: AttemptFacts = { attempt: 0, durationMs: 0 },
): void {
  if (!jobChannel.hasSubscribers || outcome.end === undefined) return
  const event: JobEndEvent = {
    end: outcome.end,
    task: task?.name,
    queue,
    id,
    attempt,
    durationMs,
    error: 'error' in outcome ? outcome.error : outcome.kind === 'reject' ? outcome.reason : undefined,
    delayMs: outcome.kind === 'release' ? outcome.delayMs : 0,
  }
  jobChannel.publish(event)
}

import type { Delivery } from '../contract/index.ts'
import { errorForLog } from '../error-fields.ts'
import { messageOf } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Retry } from '../middleware/signals.ts'
import type { AnyTask } from '../tasks/task.ts'
import type { AttemptFacts } from './worker-events.ts'
import type { Outcome } from './outcome.ts'

/**
 * Writes the line about the end of an attempt, or of a job that was refused without one. A job that goes back unstarted has no
 * line.
 */
export function logJobEnd(
  log: Logger,
  delivery: Delivery,
  task: AnyTask | undefined,
  outcome: Outcome,
  attempt?: AttemptFacts,
): void {
  const { end } = outcome
  const level = end === 'dead' ? 'error' : end === 'postponed' ? 'debug' : 'info'
  // Most jobs end well: below this level they must cost nothing.
  if (end === undefined || !log.isLevelEnabled(level)) return
  log[level](fieldsOf(delivery, task, outcome, attempt), textOf(delivery, outcome, attempt))
}

function fieldsOf(
  { id, queue }: Delivery,
  task: AnyTask | undefined,
  outcome: Outcome,
  attempt: AttemptFacts | undefined,
): object {
  const { end } = outcome
  if (attempt === undefined) return { ...(task && { task: task.name }), queue, job: id, outcome: end }
  const fields = {
    task: task?.name,
    job: id,
    attempt: attempt.attempt,
    outcome: end,
    durationMs: Math.round(attempt.durationMs * 10) / 10,
  }
  if (outcome.kind === 'release') return { ...fields, delayMs: outcome.delayMs }
  if (outcome.kind === 'reject' && 'error' in outcome) return { ...fields, err: errorForLog(outcome.error) }
  return fields
}

function textOf({ foreground }: Delivery, outcome: Outcome, attempt: AttemptFacts | undefined): string {
  if (outcome.kind === 'reject') {
    // A job that a caller waits for leaves no dead letter.
    const where = foreground === true ? 'reported to its caller' : 'moved to the dead letters'
    return attempt === undefined ? `job refused, ${where}: ${outcome.reason}` : `job failed, ${where}`
  }
  if (outcome.kind === 'ack') {
    if (outcome.end === 'done') return 'job done'
    if (outcome.end === 'expired') return `job expired: ${describeExpiry(outcome.error)}`
    return outcome.reason === undefined ? 'job discarded' : `job discarded: ${outcome.reason}`
  }
  if (outcome.end === 'postponed') return 'job postponed'
  const { error } = outcome
  return error === undefined || error instanceof Retry
    ? 'attempt failed, retrying'
    : `attempt failed, retrying: ${messageOf(error)}`
}

/** The failure of the last attempt is the cause, if there was one. */
function describeExpiry(error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined
  return cause === undefined ? messageOf(error) : `${messageOf(error)} The attempt failed: ${messageOf(cause)}`
}

import type { Headers, OutboundMessage, PublishResult, QueueSpec } from '../contract/index.ts'
import type { Job } from '../worker/job.ts'
import type { Outcome } from '../worker/outcome.ts'

/** A message and the queue that it goes to. */
export interface QueuedMessage {
  readonly queue: QueueSpec
  readonly message: OutboundMessage
}

/** A job whose outcome is decided and not yet sent to the broker. */
export interface EndingJob {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly headers: Headers
  /**
   * True if this worker started the job. False for a job that may not run: its data is unreadable, too many workers died with
   * it, or it has expired.
   */
  readonly started: boolean
  readonly outcome: Outcome
}

/**
 * Functions that a feature runs once for many jobs of a task: the place for one call to a store. Jobs of the same moment come
 * together, at most 1,000, also those of other tasks with the same hooks object. At most four calls of a hook run at once.
 *
 * Jobs whose caller waits for them on the broker's own connection (`job.foreground`) pass no hook.
 *
 * @example
 * const hooks: BatchHooks = {
 *   async publish(batch, next) {
 *     await audit.insert(batch.map(({ message }) => message.id))
 *     return next(batch)
 *   },
 * }
 * queueJob({ name: 'charge', hooks }, charge)
 */
export interface BatchHooks {
  /**
   * Publishes messages through `next`, which never rejects, and returns one result for each message, in their order. It may
   * change messages, and may answer for a message that it does not pass on. If it throws, each message has the result that
   * `next` had for its id; messages that were not passed on are refused with the error.
   */
  readonly publish?: (
    batch: readonly QueuedMessage[],
    next: (batch: readonly QueuedMessage[]) => Promise<readonly PublishResult[]>,
  ) => Promise<readonly PublishResult[]>
  /**
   * Decides whether jobs start: `start`, or an outcome for a job that must not. One decision for each job, in their order. Each
   * job holds its place in the worker's concurrency meanwhile. If it throws, the jobs go back to their queue for one second.
   */
  readonly start?: (jobs: readonly Job[]) => Promise<readonly ('start' | Outcome)[]>
  /**
   * Runs before outcomes are sent to the broker, and returns one outcome for each job, in their order. It is also called for
   * started jobs that go back because their worker stops. If it throws, the jobs go back and run again.
   */
  readonly settle?: (jobs: readonly EndingJob[]) => Promise<readonly Outcome[]>
}

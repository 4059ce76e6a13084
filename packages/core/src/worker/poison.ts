import type { LostDelivery, Leases } from '../contract/index.ts'
import type { Headers } from '../contract/message.ts'
import { countHeader, HEADER } from '../messages/envelope.ts'

/*
 * The policy for jobs that end their worker process. All its decisions are here; the worker and the supervisor act on them.
 *
 * 1. A delivery is lost if its worker process dies before it settles the job. After `maxDeliveries` lost deliveries the job
 *    is poison: it becomes a dead letter (`ZYQ_JOB_POISON`).
 * 2. If the broker has `reclaim`, the supervisor names the jobs that ran when the process died. Only these count a lost
 *    delivery. If it has none, every prefetched job of the dead worker counts one.
 * 3. The last delivery runs alone in a process, so that other jobs are not blamed. If every prefetched job counts, a job is
 *    also held alone (prefetch 1), as soon as half of its deliveries are lost.
 * 4. If the supervisor kills a process because of a hard timeout, the overdue jobs are the culprits: each counts a failed
 *    attempt, not a lost delivery. If a blocked process ran several jobs, the culprit is unknown: the overdue jobs count
 *    nothing, and each runs alone the next time.
 */

export const DEFAULT_MAX_DELIVERIES = 5

/** How long a consumer holds one job at a time after the last job that must be held alone, in ms. */
export const HOLD_ALONE_MS = 1_000

/** True if every prefetched job of a dead worker counts a lost delivery, because the broker has no `reclaim`. */
export function countsAllHeld(leases: Leases): boolean {
  return leases.kind === 'message' || leases.reclaim === undefined
}

export interface PoisonDecision {
  /** The lost deliveries that count. */
  readonly lost: number
  readonly isPoison: boolean
  /** True if the job must run alone in its process. */
  readonly alone: boolean
}

/**
 * Decides whether a delivered job may run, and whether it must run alone. Throws `CodecError` if a header is not a count.
 */
export function decidePoison(options: {
  readonly deliveryCount: number
  readonly headers: Headers
  readonly maxDeliveries: number
  readonly countsAllHeld: boolean
}): PoisonDecision {
  const { deliveryCount, headers, maxDeliveries } = options
  const lost = deliveryCount - countKills(headers)
  const isNearLimit = options.countsAllHeld ? lost * 2 >= maxDeliveries : lost === maxDeliveries - 1
  return { lost, isPoison: lost >= maxDeliveries, alone: (lost > 0 && isNearLimit) || HEADER.runAlone in headers }
}

/** The number of a job's lost deliveries that were kills because of a hard timeout, the latest included. */
function countKills(headers: Headers): number {
  const earlier = countHeader(headers, HEADER.kills, 0)
  return earlier + (HEADER.killed in headers ? 1 : 0) + (HEADER.runAlone in headers ? 1 : 0)
}

/** Header changes for a job that goes back to its queue after an attempt: its kills are counted, its marks removed. */
export function afterAttempt(headers: Headers): Readonly<Record<string, string | undefined>> {
  const kills = countKills(headers)
  return { ...WITHOUT_KILLS, [HEADER.kills]: kills === 0 ? undefined : String(kills) }
}

/** Header changes for a dead letter. A job that an operator requeues starts without kills. */
export const WITHOUT_KILLS: Readonly<Record<string, undefined>> = {
  [HEADER.killed]: undefined,
  [HEADER.runAlone]: undefined,
  [HEADER.kills]: undefined,
}

/** A job that runs in a worker process, as the supervisor reads it from the ledger. */
interface RunningJob {
  readonly consumerId: string
  readonly jobId: string
  readonly started: boolean
  /** On the host's monotonic clock; 0 means no hard timeout. */
  readonly deadlineMs: number
}

/** The jobs that cause the kill of a process. */
export interface KillDecision<Job> {
  /** Past their hard timeout. */
  readonly culprits: readonly Job[]
  /** Overdue in a blocked process that ran several jobs: any of them, or another one, may block it. */
  readonly runAlone: readonly Job[]
}

/**
 * Decides whether a process must be killed because a job is past its hard timeout. `freeAt` is the last known time at which
 * its event loop ran. A job that was overdue before that time is a culprit, because the process was not blocked then.
 */
export function decideKill<Job extends RunningJob>(
  jobs: readonly Job[],
  { now, freeAt, isBlocked }: { readonly now: number; readonly freeAt: number; readonly isBlocked: boolean },
): KillDecision<Job> | undefined {
  const started = jobs.filter((job) => job.started)
  const overdue = started.filter(({ deadlineMs }) => deadlineMs > 0 && deadlineMs < now)
  const proven = overdue.filter(({ deadlineMs }) => deadlineMs < freeAt)
  if (proven.length > 0) return { culprits: proven, runAlone: [] }
  if (overdue.length === 0 || !isBlocked) return undefined
  return started.length === 1 ? { culprits: overdue, runAlone: [] } : { culprits: [], runAlone: overdue }
}

/** The lost deliveries that the supervisor reports for one consumer of a process that ended. */
export function lostDeliveries(
  consumerId: string,
  kill: KillDecision<RunningJob> | undefined,
  killedJobs: readonly RunningJob[],
): LostDelivery[] {
  const lost = (jobs: readonly RunningJob[], headers?: Headers): LostDelivery[] =>
    jobs
      .filter((job) => job.consumerId === consumerId)
      .map(({ jobId }) => (headers === undefined ? { id: jobId } : { id: jobId, headers }))
  return [
    ...lost(kill?.culprits ?? [], { [HEADER.killed]: 'ZYQ_JOB_TIMEOUT' }),
    ...lost(kill?.runAlone ?? [], { [HEADER.runAlone]: 'ZYQ_JOB_TIMEOUT' }),
    ...lost(killedJobs),
  ]
}

import { z } from 'zod'
import type { LoggerLike } from '../logger.ts'
import { MAX_TIMER_MS } from '../limits.ts'
import type { Middleware } from '../middleware/middleware.ts'
import type { AnyTask } from '../tasks/task.ts'

export interface WorkerOptions {
  /** The tasks to run. Default: all that this process has defined when the worker starts. */
  readonly tasks?: readonly AnyTask[]
  /** Only the tasks of these queues. */
  readonly queues?: readonly string[]
  /** Jobs that run at once. Default: 10. */
  readonly concurrency?: number
  /**
   * The maximum number of unsettled jobs, running and waiting. Default: the number that completes in 100 ms, at most 500.
   */
  readonly prefetch?: number
  /**
   * If the worker does not renew its lease for this time, in ms, the broker gives its jobs to other workers. Default:
   * 30,000.
   */
  readonly leaseMs?: number
  /** How long `drain` waits for running jobs before it releases them, in ms. Default: 30,000. */
  readonly graceMs?: number
  /**
   * A consumer is replaced if it receives nothing for this many ms although jobs are ready. If receiving fails for twice as long
   * while the broker is available, a supervised worker ends. Default: 30,000.
   */
  readonly stallMs?: number
  /** The worker drains itself after this many jobs. Default: never. */
  readonly maxJobs?: number
  /** The name that `zyqueue workers` shows. Default: `worker`. */
  readonly name?: string
  /** A pino or winston logger fits. Default: `createLogger({ level: 'warn' })`, so that failed jobs are logged. */
  readonly logger?: LoggerLike
  /** Wrapped around every task's own middleware. */
  readonly middleware?: readonly Middleware[]
}

export const DEFAULT_CONCURRENCY = 10
export const DEFAULT_LEASE_MS = 30_000
export const DEFAULT_GRACE_MS = 30_000
export const DEFAULT_STALL_MS = 30_000
/** How long `close` waits for the broker. */
export const CLOSE_TIMEOUT_MS = 2_000

/** The numbers among the options, for callers that read them from text. */
export const workerNumbers = {
  concurrency: z.int().positive().max(100_000).optional(),
  prefetch: z.int().positive().max(100_000).optional(),
  leaseMs: z.number().min(100).max(MAX_TIMER_MS).optional(),
  graceMs: z.number().nonnegative().max(MAX_TIMER_MS).optional(),
  stallMs: z.number().positive().max(MAX_TIMER_MS).optional(),
  maxJobs: z.int().positive().optional(),
} as const

/** The options of an in-process worker. Options that are not numbers are checked when they are used. */
export const workerOptionsSchema: z.ZodType = z.strictObject({
  ...workerNumbers,
  tasks: z.unknown().optional(),
  queues: z.unknown().optional(),
  name: z.unknown().optional(),
  logger: z.unknown().optional(),
  middleware: z.unknown().optional(),
})

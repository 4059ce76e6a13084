import { availableParallelism } from 'node:os'
import { z } from 'zod'
import type { ZyQueueError } from '../errors.ts'
import { LOG_LEVELS, type Logger, type LogLevel } from '../logger.ts'
import { workerNumbers } from '../worker/options.ts'

/** What each worker process imports, and calls `register(data)` of, before it imports the task file. */
export interface TaskFileLoader {
  /** URL of an ES module that exports `register`. */
  readonly module: string
  /** Plain data, as JSON carries it. */
  readonly data: unknown
}

export interface SupervisorOptions {
  /** Absolute path. */
  readonly taskFile: string
  readonly loader?: TaskFileLoader
  /** Worker processes. Default: one per CPU. */
  readonly maxWorkers?: number
  /** Jobs that one process runs at once. Default: 10. */
  readonly concurrency?: number
  /** Jobs that one process holds at once. Default: as many as take a tenth of a second, 500 at the most. */
  readonly prefetch?: number
  /** Only the tasks of these queues. */
  readonly queues?: readonly string[]
  /** How long jobs may run on after `drain`, in ms. Default: 30,000. */
  readonly graceMs?: number
  /** How long the jobs of a host that is gone stay with it, in ms. Default: 30,000. */
  readonly leaseMs?: number
  /** A worker that takes nothing for this many ms although work waits is replaced. Default: 30,000. */
  readonly stallMs?: number
  /** A process is replaced after this many jobs. Default: never. */
  readonly maxJobsPerWorker?: number
  /** A process is replaced when it has grown beyond this many bytes. Default: never. */
  readonly maxMemoryPerWorker?: number
  /** End when all queues are empty. Default: false. */
  readonly burst?: boolean
  /** For tasks that name no broker of their own. */
  readonly server?: string
  /** For tasks that name no broker of their own. */
  readonly connection?: string
  /** Folders to look for broker packages in, after the task file's and the working directory. */
  readonly resolveFrom?: readonly string[]
  /** The supervisor's own. Default: `createLogger()`. */
  readonly logger?: Logger
  /** How worker processes log to standard error. Default: `info`, and what `createLogger` takes for a format. */
  readonly workerLog?: { readonly level?: LogLevel; readonly format?: 'pretty' | 'json' }
}

export interface SupervisorResult {
  /** `drained`: asked to. `stopped`: asked to stop at once. `burst`: the queues were empty. `failed`: see `error`. */
  readonly reason: 'drained' | 'stopped' | 'burst' | 'failed'
  readonly error?: ZyQueueError
}

const { concurrency, prefetch, leaseMs, graceMs, stallMs } = workerNumbers

export const supervisorSchema = z.object({
  concurrency,
  prefetch,
  leaseMs,
  graceMs,
  stallMs,
  taskFile: z.string(),
  maxWorkers: z.int().positive().max(1_024).default(availableParallelism()),
  queues: z.array(z.string()).min(1).optional(),
  maxJobsPerWorker: z.int().positive().optional(),
  maxMemoryPerWorker: z.number().positive().optional(),
  burst: z.boolean().default(false),
  server: z.string().optional(),
  connection: z.string().optional(),
  resolveFrom: z.array(z.string()).default([]),
  workerLog: z
    .object({ level: z.enum(LOG_LEVELS).optional(), format: z.enum(['pretty', 'json']).optional() })
    .default({}),
})

export type CheckedSupervisorOptions = z.infer<typeof supervisorSchema>

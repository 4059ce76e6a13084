import { availableParallelism } from 'node:os'
import { z } from 'zod'
import type { ZyQueueError } from '../errors.ts'
import { LOG_LEVELS, type LoggerLike, type LogLevel } from '../logger.ts'
import { workerNumbers } from '../worker/options.ts'

/** A module that each worker process imports before the task file. The process calls its `register(data)`. */
export interface TaskFileLoader {
  /** URL of an ES module that exports `register`. */
  readonly module: string
  /** Data that JSON can encode. */
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
  /** The maximum number of jobs that one process holds. Default: the number that completes in 100 ms, at most 500. */
  readonly prefetch?: number
  /** Only the tasks of these queues. */
  readonly queues?: readonly string[]
  /** How long `drain` waits for running jobs, in ms. Default: 30,000. */
  readonly graceMs?: number
  /** The jobs of a lost host go to other workers after this many ms. Default: 30,000. */
  readonly leaseMs?: number
  /** A worker that receives nothing for this many ms although jobs are ready is replaced. Default: 30,000. */
  readonly stallMs?: number
  /** A process is replaced after this many jobs. Default: never. */
  readonly maxJobsPerWorker?: number
  /** A process is replaced if its memory exceeds this many bytes. Default: never. */
  readonly maxMemoryPerWorker?: number
  /**
   * End when all queues are empty. Default: false. The workers wait for a broker that is unavailable at the start. With `burst`
   * they wait for 30 seconds; then the result is `failed`.
   */
  readonly burst?: boolean
  /** The broker for tasks that name none. */
  readonly server?: string
  /** The connection for tasks that name none. */
  readonly connection?: string
  /** Folders that are searched for broker packages, after the task file's folder and the working directory. */
  readonly resolveFrom?: readonly string[]
  /** The logger of the supervisor. A pino or winston logger fits. Default: `createLogger()`. */
  readonly logger?: LoggerLike
  /** How worker processes log. Default: to standard error, level `info`, and the default format of `createLogger`. */
  readonly workerLog?: {
    readonly level?: LogLevel
    readonly format?: 'pretty' | 'json'
    /** Absolute path of a module for `importLogger`, which each process calls. It gets the level, but not the format. */
    readonly module?: string
  }
}

export interface SupervisorResult {
  /** `drained`: after `drain`. `stopped`: after `stop`. `burst`: the queues were empty. `failed`: see `error`. */
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
    .object({
      level: z.enum(LOG_LEVELS).optional(),
      format: z.enum(['pretty', 'json']).optional(),
      module: z.string().optional(),
    })
    .default({}),
})

export type CheckedSupervisorOptions = z.infer<typeof supervisorSchema>

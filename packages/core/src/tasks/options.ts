import type { StandardSchemaV1 } from '@standard-schema/spec'
import { z } from 'zod'
import type { BrokerPlugin } from '../contract/index.ts'
import type { BatchHooks } from '../hooks/batch-hooks.ts'
import { MAX_DELAY_MS, MAX_RETRIES } from '../limits.ts'
import type { Middleware } from '../middleware/middleware.ts'
import { headersSchema } from './headers.ts'
import { delayMsSchema, retriesSchema, retryPolicySchema, type RetryPolicy } from '../middleware/retry-policy.ts'
import { parseOptions, readOptions, timerMs } from '../parse-options.ts'

/**
 * Options of one kind of broker. Its package adds them by declaration merging:
 * `declare module '@zyqueue/core' { interface BrokerTaskOptions { exchange?: string } }`.
 */
// oxlint-disable-next-line typescript/no-empty-interface, typescript/no-empty-object-type
export interface BrokerTaskOptions {}

/** A whole number from 0 to 9. Higher priorities run first. `low` is 1, `normal` 4, `high` 7. */
export type Priority = 'low' | 'normal' | 'high' | number

export interface TaskOptions extends BrokerTaskOptions {
  /** Default: the name of the handler. */
  readonly name?: string
  /**
   * The broker: a short name (`redis`), a package, a path or a plugin. Default: the scheme of `connection`, else
   * `ZYQUEUE_SERVER`, else SQLite.
   */
  readonly server?: string | BrokerPlugin
  /**
   * The broker's address. Default: `ZYQUEUE_CONNECTION`, else the broker's default. If `server` is given and cannot read the
   * variable's value, a `ConfigError` (`ZYQ_CONFIG`) is thrown.
   */
  readonly connection?: string
  /** Default: the task's name. */
  readonly queue?: string
  /**
   * Retries after a failed attempt. A number, at most 999,999: their limit, with exponential backoff and full jitter. A
   * `RetryPolicy` also says which errors are retried (`when`) and after what time. Default: 3.
   *
   * ```ts
   * retries: { limit: 5, when: (error) => !(error instanceof TypeError), delayMs: (attempt) => attempt * 10_000 }
   * ```
   */
  readonly retries?: number | RetryPolicy
  /**
   * After this many ms `job.signal` is aborted. An attempt that then throws fails with `ZYQ_JOB_TIMEOUT`. Default: none.
   */
  readonly timeoutMs?: number
  /** After this many ms the supervisor kills the process that runs the attempt, and the attempt fails. Default: none. */
  readonly hardTimeoutMs?: number
  /** Default: `normal`. */
  readonly priority?: Priority
  /**
   * The job becomes a dead letter after this many workers have died while they ran it. The last delivery runs alone in a
   * process, so that other jobs are not blamed. With 1, jobs that ran beside it cannot be told apart. Default: 5.
   */
  readonly maxDeliveries?: number
  /**
   * A job that its handler postpones (`Postpone`) until later than this many ms after the first time is dead-lettered with
   * `ZYQ_POSTPONE_LIMIT`. Default: thirty days.
   */
  readonly maxPostponeMs?: number
  /** Wraps the handler. The first middleware is the outermost. */
  readonly middleware?: readonly Middleware[]
  /** Functions that run once for many jobs: before they are published, before they start, before they are settled. */
  readonly hooks?: BatchHooks
}

/** Options of one submission, which override those of its task. */
export interface SubmitOptions extends BrokerTaskOptions {
  readonly server?: string | BrokerPlugin
  readonly connection?: string
  readonly queue?: string
  /** The job is ready after this many ms, at most ten years. Default: 0. */
  readonly delayMs?: number
  /**
   * Instead of `delayMs`: the job is ready at this instant, in ms since 1970 or as a `Date`. An instant that has passed means
   * now.
   */
  readonly readyAtMs?: number | Date
  /**
   * A job that is older than this many ms, counted from its submit, is not run: it is deleted, and its worker logs and reports
   * its end as `expired`. This includes delays, retries and postponements. Default: it does not expire.
   */
  readonly expiresMs?: number
  readonly priority?: Priority
  /** The limit of retries, at most 999,999. The rest of the task's policy applies. */
  readonly retries?: number
  /**
   * Headers for `job.headers`. Keys must be lower case; keys that begin with `zyq-` are reserved. At most 32 KiB together.
   */
  readonly headers?: Readonly<Record<string, string>>
  /** True submits a list as one batch. Default: false; true for a task that is declared with `server: 'gearman'`. */
  readonly batch?: false
}

/** Options of a batch. */
export interface BatchOptions extends Omit<SubmitOptions, 'batch'> {
  readonly batch: true
}

const PRIORITY_NAMES = { low: 1, normal: 4, high: 7 } as const
export const NORMAL_PRIORITY: number = PRIORITY_NAMES.normal

const prioritySchema = z.union([z.literal(['low', 'normal', 'high']), z.int().min(0).max(9)], {
  error: 'expected a whole number from 0 to 9, or low, normal, high',
})

const sharedShape = {
  server: z.union([z.string().min(1), z.custom<BrokerPlugin>((value) => typeof value === 'object' && value !== null)], {
    error: 'expected the name of a broker, or a plugin',
  }),
  connection: z.string().min(1),
  queue: z.string(),
  priority: prioritySchema,
}

const taskSchema = z
  .object({
    ...sharedShape,
    name: z.string(),
    retries: z.union([retriesSchema, retryPolicySchema], {
      error: `expected a whole number from 0 to ${MAX_RETRIES}, or { limit, when, delayMs } or { limit, when, minDelayMs, maxDelayMs }`,
    }),
    timeoutMs: timerMs,
    hardTimeoutMs: timerMs,
    maxDeliveries: z.int().positive(),
    maxPostponeMs: delayMsSchema,
    middleware: z.array(z.custom<Middleware>(isMiddleware, 'expected a function, or { submit, run }')),
    hooks: z.custom<BatchHooks>(isBatchHooks, 'expected { publish, start, settle }, each a function or absent'),
    data: z.custom<StandardSchemaV1>(isStandardSchema, 'expected a Standard Schema, such as one of Zod'),
  })
  .partial()

/** A `Date` becomes a number. */
const instantSchema = z
  .union([z.number(), z.date().transform((date) => date.getTime())], {
    error: 'expected an instant: ms since 1970, or a Date',
  })
  .refine((instant) => instant <= Date.now() + MAX_DELAY_MS, 'the instant is more than ten years from now')

const submitSchema = z
  .object({
    ...sharedShape,
    delayMs: z.number().nonnegative().max(MAX_DELAY_MS),
    readyAtMs: instantSchema,
    expiresMs: delayMsSchema,
    retries: retriesSchema,
    headers: headersSchema,
  })
  .partial()
  .refine(({ delayMs, readyAtMs }) => delayMs === undefined || readyAtMs === undefined, {
    path: ['readyAtMs'],
    error: 'give either delayMs or readyAtMs, not both',
  })
  .refine(
    ({ delayMs = 0, readyAtMs = 0, expiresMs = Infinity }) => expiresMs > Math.max(delayMs, readyAtMs - Date.now()),
    {
      path: ['expiresMs'],
      error: 'the job would expire before it is ready: expiresMs must be longer than the delay',
    },
  )

/** Only `submit` has `batch`. */
const batchSchema = submitSchema.safeExtend({ batch: z.boolean().optional() })

const callSchema = z.object({ timeoutMs: timerMs })

function isMiddleware(value: unknown): boolean {
  return typeof value === 'function' || hasFunctions(value, ['submit', 'run'])
}

function isBatchHooks(value: unknown): boolean {
  return hasFunctions(value, ['publish', 'start', 'settle'])
}

/** True if an object has at least one of these members and all of them are functions. */
function hasFunctions(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false
  const members: unknown[] = names.map((name) => Reflect.get(value, name)).filter((member) => member !== undefined)
  return members.length > 0 && members.every((member) => typeof member === 'function')
}

function isStandardSchema(value: unknown): boolean {
  return value !== null && (typeof value === 'object' || typeof value === 'function') && '~standard' in value
}

export type CheckedTaskOptions = z.infer<typeof taskSchema>
export type CheckedSubmitOptions = z.infer<typeof batchSchema>

/** Options, split into core's and the broker's. */
export interface SplitOptions<Core> {
  readonly core: Core
  readonly broker: Readonly<Record<string, unknown>>
}

/** Throws `ConfigError` (`ZYQ_CONFIG`) that names the option. */
export function splitTaskOptions(options: object): SplitOptions<CheckedTaskOptions> {
  return split(taskSchema, options, 'queueJob')
}

/** Throws `ConfigError` (`ZYQ_CONFIG`) that names the option. */
export function splitSubmitOptions(
  options: object | undefined,
  call: 'submit' | 'submitMany' | 'call',
): SplitOptions<CheckedSubmitOptions> {
  if (options === undefined) return NO_OPTIONS
  return call === 'submit' ? split(batchSchema, options, call) : split(submitSchema, options, call)
}

/** Throws `ConfigError` (`ZYQ_CONFIG`) that names the option. */
export function checkCallTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs !== undefined) parseOptions(callSchema, { timeoutMs }, 'call')
}

/** The result for absent options: always the same object. */
export const NO_OPTIONS: SplitOptions<CheckedSubmitOptions> = { core: {}, broker: {} }

function split<Shape extends z.ZodRawShape>(schema: z.ZodObject<Shape>, options: object, call: string) {
  const given = readOptions(call, () => Object.entries(options).filter(([, value]) => value !== undefined))
  const core = parseOptions(schema, Object.fromEntries(given.filter(([key]) => key in schema.shape)), call)
  return { core, broker: Object.fromEntries(given.filter(([key]) => !(key in schema.shape))) }
}

export function priorityLevel(priority: CheckedTaskOptions['priority']): number {
  if (priority === undefined) return NORMAL_PRIORITY
  return typeof priority === 'number' ? priority : PRIORITY_NAMES[priority]
}

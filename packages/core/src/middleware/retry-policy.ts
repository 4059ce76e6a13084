import { z } from 'zod'
import { MAX_DELAY_MS, MAX_RETRIES } from '../limits.ts'

/** When a failed attempt is retried. */
export interface RetryPolicy {
  /** Retries after the first attempt, at most 999,999. */
  readonly limit: number
  /**
   * Decides with the error that the handler threw whether to retry; if it returns false, the job becomes a dead letter. It is not
   * called for a `Retry`, a `Reject` or a `Discard`. Default: every error is retried.
   */
  readonly when?: ((error: unknown) => boolean) | undefined
  /**
   * The wait before a retry, in ms, at most ten years: a number, or a function of the attempt that failed (1 for the first) and its
   * error. It replaces the default backoff. A function may add jitter of its own.
   */
  readonly delayMs?: number | ((attempt: number, error: unknown) => number) | undefined
  /** Bound of the wait before the first retry, in ms; each later one doubles it. Default: 1,000. Not with `delayMs`. */
  readonly minDelayMs?: number | undefined
  /** Bound of every wait, in ms. Default: 600,000 (ten minutes). Not with `delayMs`. */
  readonly maxDelayMs?: number | undefined
}

export const delayMsSchema: z.ZodType<number> = z.int().positive().max(MAX_DELAY_MS)
export const retriesSchema: z.ZodType<number> = z.int().nonnegative().max(MAX_RETRIES)

function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}

export const retryPolicySchema: z.ZodType<RetryPolicy> = z
  .strictObject({
    limit: retriesSchema,
    when: z.custom<(error: unknown) => boolean>(isFunction, 'expected a function of the error').optional(),
    delayMs: z
      .union([
        z.number().nonnegative().max(MAX_DELAY_MS),
        z.custom<(attempt: number, error: unknown) => number>(isFunction),
      ])
      .optional(),
    minDelayMs: delayMsSchema.optional(),
    maxDelayMs: delayMsSchema.optional(),
  })
  .refine(({ delayMs, minDelayMs, maxDelayMs }) => delayMs === undefined || (minDelayMs ?? maxDelayMs) === undefined, {
    path: ['delayMs'],
    error: 'give either delayMs, or minDelayMs and maxDelayMs',
  })

import { z } from 'zod'
import { MAX_DELAY_MS, MAX_RETRIES } from '../limits.ts'

export interface RetryPolicy {
  /** Retries after the first attempt, at most 999,999. */
  readonly limit: number
  /** Bound of the wait before the first retry, in ms; each later one doubles it. Default: 1,000. */
  readonly minDelayMs?: number | undefined
  /** Bound of every wait, in ms. Default: 600,000 (ten minutes). */
  readonly maxDelayMs?: number | undefined
}

export const delayMsSchema: z.ZodType<number> = z.int().positive().max(MAX_DELAY_MS)
export const retriesSchema: z.ZodType<number> = z.int().nonnegative().max(MAX_RETRIES)

export const retryPolicySchema = z.strictObject({
  limit: retriesSchema,
  minDelayMs: delayMsSchema.optional(),
  maxDelayMs: delayMsSchema.optional(),
})

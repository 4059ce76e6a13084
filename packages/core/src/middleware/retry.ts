import { backoffMs } from '../broker/backoff.ts'
import { CodecError, JobError } from '../errors.ts'
import { countHeader, HEADER } from '../messages/envelope.ts'
import type { RetryPolicy } from '../tasks/options.ts'
import type { Job } from '../worker/job.ts'
import type { Middleware } from './middleware.ts'
import { Discard, Reject, Retry } from './signals.ts'

export const DEFAULT_RETRIES = 3
const MIN_DELAY_MS = 1_000
const MAX_DELAY_MS = 600_000

/**
 * Turns a failed attempt into a `Retry` with exponential backoff and full jitter, until `limit` retries are used up.
 * Not retried: a `Reject`, a `Discard`, and data that does not decode or fit its schema, which would not fit the next time either.
 */
export function retry(policy: RetryPolicy): Middleware {
  return async ({ job }, next) => {
    try {
      return await next()
    } catch (error) {
      throw retried(policy, job, error)
    }
  }
}

/** What a failed attempt is to throw in the place of what it threw: a `Retry`, or its failure for good. */
export function retried(policy: RetryPolicy, job: Job, error: unknown): unknown {
  if (error instanceof Discard || error instanceof Reject || error instanceof CodecError) return error
  const limit = countHeader(job.headers, HEADER.retries, policy.limit)
  const cause = error instanceof Retry ? error.cause : error
  if (job.attempt > limit) {
    if (!(error instanceof Retry) || cause !== undefined) return cause
    return new JobError('ZYQ_JOB_FAILED', `The handler asked for a retry, but all ${limit} are used up.`)
  }
  const asked = error instanceof Retry ? error.delayMs : undefined
  const backoff = { minMs: policy.minDelayMs ?? MIN_DELAY_MS, maxMs: policy.maxDelayMs ?? MAX_DELAY_MS }
  return new Retry({ delayMs: asked ?? Math.ceil(backoffMs(backoff, job.attempt - 1)), cause })
}

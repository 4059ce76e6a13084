import { backoffMs } from '../connection/backoff.ts'
import { CodecError, JobError } from '../errors.ts'
import { countHeader, HEADER } from '../messages/envelope.ts'
import { parseOptions } from '../parse-options.ts'
import { retryPolicySchema, type RetryPolicy } from './retry-policy.ts'
import type { Job } from '../worker/job.ts'
import type { RunMiddleware } from './middleware.ts'
import { checkDelay, Discard, Postpone, Reject, Retry } from './signals.ts'

export const DEFAULT_RETRIES = 3
const MIN_DELAY_MS = 1_000
const MAX_DELAY_MS = 600_000

/**
 * Turns a failed attempt into a `Retry` with exponential backoff and full jitter, until `limit` retries are used up.
 * It does not retry a `Reject`, a `Discard`, a `Postpone`, or data that does not decode or fit its schema.
 *
 * Throws `ConfigError` (`ZYQ_CONFIG`) if the policy is invalid.
 */
export function retry(policy: RetryPolicy): RunMiddleware {
  parseOptions(retryPolicySchema, policy, 'retry')
  return async ({ job }, next) => {
    try {
      return await next()
    } catch (error) {
      throw retryOrFail(policy, job, error)
    }
  }
}

/** The error with which a failed attempt ends: a `Retry`, or the failure if no retries are left. Never throws. */
export function retryOrFail(policy: RetryPolicy, job: Job, thrown: unknown): unknown {
  if (thrown instanceof Discard || thrown instanceof Reject || thrown instanceof Postpone) return thrown
  if (thrown instanceof CodecError) return thrown
  const { cause, delayMs } = failureOf(thrown)
  const limit = limitOf(policy, job)
  if (job.attempt > limit) {
    if (!(thrown instanceof Retry) || cause !== undefined) return cause
    return new JobError('ZYQ_JOB_FAILED', `The handler asked for a retry, but all ${limit} are used up.`)
  }
  const backoff = { minMs: policy.minDelayMs ?? MIN_DELAY_MS, maxMs: policy.maxDelayMs ?? MAX_DELAY_MS }
  return new Retry({ delayMs: Math.ceil(delayMs ?? backoffMs(backoff, job.attempt - 1)), cause })
}

interface Failure {
  readonly cause: unknown
  readonly delayMs?: number | undefined
}

/** A `Retry` of another copy of this package may have an invalid delay. The error about the delay is then the failure. */
function failureOf(thrown: unknown): Failure {
  if (!(thrown instanceof Retry)) return { cause: thrown }
  try {
    checkDelay(thrown.delayMs)
    return { cause: thrown.cause, delayMs: thrown.delayMs }
  } catch (error) {
    return { cause: error }
  }
}

/** The submission's limit, else the task's. An invalid header must not hide the handler's error. */
function limitOf({ limit }: RetryPolicy, { headers }: Job): number {
  try {
    return countHeader(headers, HEADER.retries, limit)
  } catch {
    return limit
  }
}

import { backoffMs } from '../connection/backoff.ts'
import { CodecError, ConfigError, JobError, messageOf } from '../errors.ts'
import { countHeader, HEADER } from '../messages/envelope.ts'
import { parseOptions } from '../parse-options.ts'
import { retryPolicySchema, type RetryPolicy } from './retry-policy.ts'
import type { Job } from '../worker/job.ts'
import type { RunMiddleware } from './middleware.ts'
import { checkDelay, Discard, isDelay, Postpone, Reject, Retry } from './signals.ts'

export const DEFAULT_RETRIES = 3
const MIN_DELAY_MS = 1_000
const MAX_DELAY_MS = 600_000

/**
 * Turns a failed attempt into a `Retry`, until `limit` retries are used up. The default delay is an exponential backoff with full
 * jitter. It does not retry a `Reject`, a `Discard`, a `Postpone`, data that does not decode or fit its schema, or an error that
 * `when` refuses.
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

/** The error with which a failed attempt ends: a `Retry`, or the failure if it must not be retried. Never throws. */
export function retryOrFail(policy: RetryPolicy, job: Job, thrown: unknown): unknown {
  if (thrown instanceof Discard || thrown instanceof Reject || thrown instanceof Postpone) return thrown
  if (thrown instanceof CodecError) return thrown
  const isLast = job.attempt > limitOf(policy, job)
  try {
    return thrown instanceof Retry ? afterRetry(policy, job, thrown, isLast) : afterError(policy, job, thrown, isLast)
  } catch (error) {
    // A function of the policy failed, or a `Retry` of another copy of this package has an invalid delay.
    return isLast ? error : new Retry({ delayMs: Math.ceil(defaultDelayMs(policy, job)), cause: error })
  }
}

function afterRetry(policy: RetryPolicy, job: Job, { cause, delayMs }: Retry, isLast: boolean): unknown {
  checkDelay(delayMs)
  if (!isLast) return new Retry({ delayMs: Math.ceil(delayMs ?? waitMs(policy, job, cause)), cause })
  if (cause !== undefined) return cause
  const limit = limitOf(policy, job)
  return new JobError('ZYQ_JOB_FAILED', `The handler asked for a retry, but all ${limit} are used up.`)
}

function afterError(policy: RetryPolicy, job: Job, error: unknown, isLast: boolean): unknown {
  if (isLast || !isRetried(policy, error)) return error
  return new Retry({ delayMs: Math.ceil(waitMs(policy, job, error)), cause: error })
}

function isRetried({ when }: RetryPolicy, error: unknown): boolean {
  if (when === undefined) return true
  const decision = callPolicy('when', error, () => when(error))
  if (typeof decision === 'boolean') return decision
  throw policyError('when must return true or false', error)
}

function waitMs(policy: RetryPolicy, job: Job, error: unknown): number {
  const { delayMs } = policy
  if (delayMs === undefined) return defaultDelayMs(policy, job)
  if (typeof delayMs === 'number') return delayMs
  const wait = callPolicy('delayMs', error, () => delayMs(job.attempt, error))
  if (isDelay(wait)) return wait
  throw policyError('delayMs must return a number of ms from 0 to ten years', error)
}

function defaultDelayMs({ minDelayMs, maxDelayMs }: RetryPolicy, { attempt }: Job): number {
  return backoffMs({ minMs: minDelayMs ?? MIN_DELAY_MS, maxMs: maxDelayMs ?? MAX_DELAY_MS }, attempt - 1)
}

/** Calls a function of the policy. Its result has any type at run time. */
function callPolicy(name: string, error: unknown, call: () => unknown): unknown {
  try {
    return call()
  } catch (thrown) {
    throw policyError(`${name} threw: ${messageOf(thrown)}`, error)
  }
}

/** The cause is the error of the handler, which must not be lost. */
function policyError(fault: string, cause: unknown): ConfigError {
  return new ConfigError('ZYQ_CONFIG', `retries: ${fault}. The handler failed: ${messageOf(cause)}`, { cause })
}

/** The submission's limit, else the task's. An invalid header must not hide the handler's error. */
function limitOf({ limit }: RetryPolicy, { headers }: Job): number {
  try {
    return countHeader(headers, HEADER.retries, limit)
  } catch {
    return limit
  }
}

import { z } from 'zod'
import { JobError } from '../errors.ts'
import { ABORT } from '../internals.ts'
import { parseOptions, timerMs } from '../parse-options.ts'
import type { RunMiddleware } from './middleware.ts'

const timeoutSchema = z.object({ ms: timerMs })

/**
 * Aborts `job.signal` after `ms`. The attempt ends when the handler ends, so that two attempts never overlap. If the handler
 * then throws, the attempt fails with `ZYQ_JOB_TIMEOUT`. Throws `ConfigError` (`ZYQ_CONFIG`) if `ms` is not a whole number from
 * 1 to 2,147,483,647.
 */
export function timeout(ms: number): RunMiddleware {
  parseOptions(timeoutSchema, { ms }, 'timeout')
  return async ({ job, worker }, next) => {
    const late = new JobError('ZYQ_JOB_TIMEOUT', `The handler ran longer than ${ms} ms.`)
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      worker.log.warn({ timeoutMs: ms }, 'job exceeded its timeout')
      job[ABORT](late)
    }, ms)
    try {
      return await next()
    } catch (error) {
      if (!isLate || error === late) throw error
      throw new JobError('ZYQ_JOB_TIMEOUT', late.message, { cause: error })
    } finally {
      clearTimeout(timer)
    }
  }
}

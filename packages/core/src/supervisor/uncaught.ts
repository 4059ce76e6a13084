import { errorForLog } from '../error-fields.ts'
import type { Logger } from '../logger.ts'

/**
 * Writes an uncaught error as a line of the log, then ends the process with 1, as Node.js does. If the user's code handles
 * uncaught errors itself, this does nothing.
 */
export function logUncaughtErrors(log: () => Logger): void {
  process.on('uncaughtExceptionMonitor', (error, origin) => {
    if (process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback()) return
    // Node.js emits the event next. The listener is added late, because error reporters count the listeners.
    process.once('uncaughtException', () => {
      log().error({ err: errorForLog(error), origin }, 'uncaught error: the worker process ends')
      process.exit(1)
    })
  })
}

import { pathToFileURL } from 'node:url'
import { ConfigError, messageOf, ZyQueueError } from '../errors.ts'
import { safeLogger, type Logger, type LoggerLike, type LogLevel } from '../logger.ts'
import { isLoggerLike } from '../logging/sinks.ts'

/** The default export of a logger module, if it is a function. */
export type CreateLogger = (options: { readonly level: LogLevel }) => LoggerLike | Promise<LoggerLike>

/**
 * Imports a module whose default export is a logger such as pino's or winston's, or a `CreateLogger`. `path` is absolute.
 * Rejects with `ConfigError` (`ZYQ_CONFIG`).
 */
export async function importLogger(path: string, level: LogLevel): Promise<Logger> {
  try {
    const made = exportOf(await import(pathToFileURL(path).href))
    const logger: unknown = typeof made === 'function' && !isLoggerLike(made) ? await made({ level }) : made
    if (isLoggerLike(logger)) return safeLogger(logger)
  } catch (error) {
    if (error instanceof ZyQueueError) throw error
    throw new ConfigError('ZYQ_CONFIG', `The logger ${path} threw while it was loaded: ${messageOf(error)}`, {
      cause: error,
    })
  }
  throw new ConfigError(
    'ZYQ_CONFIG',
    `The default export of ${path} is no logger. Export an object with the methods debug, info, warn and error, such as pino(), or a function that returns one.`,
  )
}

/** A CommonJS module that was compiled from ES modules has its default export in `default.default`. */
function exportOf(module: unknown): unknown {
  const exported = defaultOf(module)
  return isLoggerLike(exported) ? exported : (defaultOf(exported) ?? exported)
}

function defaultOf(module: unknown): unknown {
  return typeof module === 'object' && module !== null && 'default' in module ? module.default : undefined
}

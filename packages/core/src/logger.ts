import { ConfigError } from './errors.ts'
import { addFields, NO_FIELDS, readCall, type Fields } from './logging/fields.ts'
import { LOG_LEVELS, type LineLevel, type LogLevel } from './logging/levels.ts'
import { jsonLine, prettyLine } from './logging/lines.ts'
import { isLoggerLike, sinkOf, type LoggerLike, type Sink } from './logging/sinks.ts'

export { LOG_LEVELS, type LogLevel } from './logging/levels.ts'
export type { LoggerLike } from './logging/sinks.ts'

/** Writes one line. Never throws. */
export interface Log {
  (message: string): void
  /** Writes the error with its code, stack and causes, and no other fields of it. Default message: the error's. */
  (error: Error, message?: string): void
  (fields: object, message?: string): void
}

/** A logger of ZyQueue: `worker.log` in a handler, or the result of `createLogger`. */
export interface Logger {
  readonly debug: Log
  readonly info: Log
  readonly warn: Log
  readonly error: Log
  /**
   * A logger that adds these fields to each line. It never replaces a field of its parent: another value of the same name is
   * written as `name_`.
   */
  child(fields: object): Logger
  /** True if lines of this level are written. */
  isLevelEnabled(level: LogLevel): boolean
}

export interface LoggerOptions {
  /** The lowest level that is written. Default: `info`. */
  readonly level?: LogLevel
  /** Default: `pretty` if the destination is a terminal, else `json`: one object per line, `time` in ms since 1970. */
  readonly format?: 'pretty' | 'json'
  /** Default: standard error. */
  readonly destination?: { write(text: string): unknown; readonly isTTY?: boolean }
}

/**
 * Creates a small logger. You can give ZyQueue a pino or winston logger instead.
 *
 * ```ts
 * const log = createLogger({ level: 'debug' })
 * log.info('ready')
 * log.info({ port: 80 }, 'listening')
 * log.error(new Error('no route to host'))
 * ```
 *
 * The format `pretty` has colours on a terminal, unless `NO_COLOR` is set. `FORCE_COLOR=1` colours it anywhere.
 */
export function createLogger(options: LoggerOptions = {}): Logger {
  const { level = 'info', destination = process.stderr } = options
  const isTerminal = destination.isTTY === true
  const format = options.format ?? (isTerminal ? 'pretty' : 'json')
  const lowest = LOG_LEVELS.indexOf(level)
  const isEnabled = (name: LineLevel): boolean => LOG_LEVELS.indexOf(name) >= lowest
  if (format === 'json') {
    return loggerOn({ isEnabled, write: (...line) => void destination.write(jsonLine(...line)) })
  }
  const colours = usesColours(isTerminal)
  return loggerOn({ isEnabled, write: (...line) => void destination.write(prettyLine(...line, colours)) })
}

/** The results of `loggerOn`, which are not wrapped again. */
const ownLoggers = new WeakSet<object>()

/**
 * Wraps a logger of any library so that no method throws or leaves a rejected promise: a log line that cannot be written must
 * not change how a job ends. Throws `ConfigError` (`ZYQ_CONFIG`) for a value that is no logger.
 */
export function safeLogger(logger: LoggerLike): Logger {
  if (isOwnLogger(logger)) return logger
  if (!isLoggerLike(logger)) {
    throw new ConfigError(
      'ZYQ_CONFIG',
      'logger: it must have the methods debug, info, warn and error, as pino and winston.',
    )
  }
  return loggerOn(sinkOf(logger))
}

function isOwnLogger(logger: object): logger is Logger {
  return ownLoggers.has(logger)
}

function loggerOn(sink: Sink, bound: Fields = NO_FIELDS): Logger {
  const logAt =
    (level: LineLevel) =>
    (first: unknown, text?: unknown): void => {
      try {
        if (!sink.isEnabled(level)) return
        const { fields, message } = readCall(first, text)
        const written = sink.write(level, addFields(bound, fields), message)
        // A logger may return anything that has a `then`.
        if (written !== undefined) Promise.resolve(written).catch(() => {})
      } catch {
        // The error cannot be reported.
      }
    }
  const logger: Logger = {
    debug: logAt('debug'),
    info: logAt('info'),
    warn: logAt('warn'),
    error: logAt('error'),
    child: (fields) => loggerOn(sink, addFields(bound, fields)),
    isLevelEnabled(level) {
      try {
        return level !== 'silent' && sink.isEnabled(level)
      } catch {
        return true
      }
    },
  }
  ownLoggers.add(logger)
  return logger
}

/** Logs nothing. */
export const silentLogger: Logger = createLogger({ level: 'silent' })

/** As Node.js decides: `FORCE_COLOR` counts more than `NO_COLOR`, and both count more than the terminal. */
function usesColours(isTerminal: boolean): boolean {
  const { FORCE_COLOR: force, NO_COLOR: none, TERM: terminal } = process.env
  if (force !== undefined) return /^(?:true|[123]?)$/.test(force)
  return isTerminal && (none === undefined || none === '') && terminal !== 'dumb'
}

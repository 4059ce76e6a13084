import { isError, messageOf } from './errors.ts'
import { plain, property } from './plain.ts'

/** Levels in ascending order; `silent` logs nothing. */
export const LOG_LEVELS: readonly ['debug', 'info', 'warn', 'error', 'silent'] = [
  'debug',
  'info',
  'warn',
  'error',
  'silent',
]
export type LogLevel = (typeof LOG_LEVELS)[number]

type Log = (fields: object, message?: string) => void

/** The logger that ZyQueue writes to. A pino logger fits. */
export interface Logger {
  debug: Log
  info: Log
  warn: Log
  error: Log
  /** A logger that adds these fields to each line. */
  child(fields: object): Logger
}

export interface LoggerOptions {
  /** The lowest level that is written. Default: `info`. */
  readonly level?: LogLevel
  /** Default: `pretty` if the destination is a terminal, else `json`: one object per line, `time` in ms since 1970. */
  readonly format?: 'pretty' | 'json'
  /** Default: standard error. */
  readonly destination?: { write(text: string): unknown; readonly isTTY?: boolean }
}

/** Creates a small logger. You can give ZyQueue a pino logger instead. */
export function createLogger(options: LoggerOptions = {}): Logger {
  const { level = 'info', destination = process.stderr } = options
  const format = options.format ?? (destination.isTTY === true ? 'pretty' : 'json')
  const lowest = LOG_LEVELS.indexOf(level)
  const line = format === 'pretty' ? prettyLine : jsonLine

  const loggerWith = (bound: object): Logger => {
    const logAt = (name: LogLevel): Log => {
      if (LOG_LEVELS.indexOf(name) < lowest) return () => {}
      return (fields, message = '') => destination.write(line(name, { ...bound, ...fields }, message))
    }
    return {
      debug: logAt('debug'),
      info: logAt('info'),
      warn: logAt('warn'),
      error: logAt('error'),
      child: (fields) => loggerWith({ ...bound, ...fields }),
    }
  }
  return safeLogger(loggerWith({}))
}

/** The results of `safeLogger`, which are not wrapped again. */
const safeLoggers = new WeakSet<Logger>()

/**
 * Wraps a logger so that no method throws or leaves a rejected promise: a log line that cannot be written must not change how
 * a job ends.
 */
export function safeLogger(logger: Logger): Logger {
  if (safeLoggers.has(logger)) return logger
  const logAt = (level: Exclude<LogLevel, 'silent'>): Log => {
    return (fields, message) => {
      try {
        const written: unknown = logger[level](fields, message)
        // A logger may return anything that has a `then`.
        if (written !== undefined) Promise.resolve(written).catch(() => {})
      } catch {
        // The error cannot be reported.
      }
    }
  }
  const safe: Logger = {
    debug: logAt('debug'),
    info: logAt('info'),
    warn: logAt('warn'),
    error: logAt('error'),
    child(fields) {
      try {
        return safeLogger(logger.child(fields))
      } catch {
        return this
      }
    },
  }
  safeLoggers.add(safe)
  return safe
}

/** Logs nothing. */
export const silentLogger: Logger = createLogger({ level: 'silent' })

function jsonLine(level: LogLevel, fields: object, msg: string): string {
  const own = { level, time: Date.now() }
  // The logger's fields come first and override the caller's `level` and `time`.
  const line = Object.assign({ ...own }, fields, own, { msg })
  return `${JSON.stringify(plain(line))}\n`
}

const COLOURS: Record<LogLevel, string> = { debug: '2', info: '36', warn: '33', error: '31', silent: '0' }

function prettyLine(level: LogLevel, fields: object, message: string): string {
  const time = new Date().toTimeString().slice(0, 8)
  const label = `\u001b[${COLOURS[level]}m${level.padEnd(5)}\u001b[0m`
  let line = `${time} ${label} ${message}`
  let stack = ''
  for (const [key, value] of Object.entries(fields)) {
    if (isError(value)) {
      line += ` ${messageOf(value)}`
      if (level === 'error') stack += stackOf(value)
    } else if (value !== undefined) {
      line += ` \u001b[2m${key}=\u001b[0m${typeof value === 'string' ? value : JSON.stringify(plain(value))}`
    }
  }
  return `${line}\n${stack}`
}

function stackOf(error: Error): string {
  const stack = property(error, 'stack')
  return typeof stack === 'string' ? `${stack}\n` : ''
}

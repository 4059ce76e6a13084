import { messageOf } from './errors.ts'

/** Levels in their order; `silent` logs nothing. */
export const LOG_LEVELS: readonly ['debug', 'info', 'warn', 'error', 'silent'] = [
  'debug',
  'info',
  'warn',
  'error',
  'silent',
]
export type LogLevel = (typeof LOG_LEVELS)[number]

type Log = (fields: object, message?: string) => void

/** What ZyQueue logs through. A pino logger is one. */
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
  /** Default: `pretty` where the destination is a terminal, else `json`: one object a line, `time` in ms since 1970. */
  readonly format?: 'pretty' | 'json'
  /** Default: standard error. */
  readonly destination?: { write(text: string): unknown; readonly isTTY?: boolean }
}

/** A small logger; give ZyQueue your own pino logger instead where you have one. */
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
  return loggerWith({})
}

/** Logs nothing. */
export const silentLogger: Logger = createLogger({ level: 'silent' })

function jsonLine(level: LogLevel, fields: object, msg: string): string {
  const own = { level, time: Date.now() }
  // Its own fields come first, and once more: a task's `level` must not pass for the line's.
  return `${toJson(Object.assign({ ...own }, fields, own, { msg }))}\n`
}

/** JSON of anything: what has no JSON is left out of it or described. Never throws, so that a log line stops no job. */
function toJson(value: unknown): string {
  try {
    return JSON.stringify(value, replacer())
  } catch (error) {
    return JSON.stringify({ unloggable: messageOf(error) })
  }
}

/** Writes errors out, and puts a word where an object would hold itself. */
function replacer(): (this: unknown, key: string, value: unknown) => unknown {
  const path: unknown[] = []
  return function replace(_key, value) {
    if (typeof value === 'bigint') return String(value)
    if (typeof value !== 'object' || value === null) return value
    while (path.length > 0 && path.at(-1) !== this) path.pop()
    if (path.includes(value)) return '[circular]'
    const plain = value instanceof Error ? plainError(value) : value
    // The holder of what comes next is the plain one; the error itself is what its causes may lead back to.
    path.push(value)
    if (plain !== value) path.push(plain)
    return plain
  }
}

function plainError(error: Error): object {
  const code = 'code' in error ? { code: error.code } : {}
  return { type: error.name, ...code, message: error.message, stack: error.stack, cause: error.cause }
}

const COLOURS: Record<LogLevel, string> = { debug: '2', info: '36', warn: '33', error: '31', silent: '0' }

function prettyLine(level: LogLevel, fields: object, message: string): string {
  const time = new Date().toTimeString().slice(0, 8)
  const label = `\u001b[${COLOURS[level]}m${level.padEnd(5)}\u001b[0m`
  let line = `${time} ${label} ${message}`
  let stack = ''
  for (const [key, value] of Object.entries(fields)) {
    if (value instanceof Error) {
      line += ` ${messageOf(value)}`
      if (level === 'error' && value.stack !== undefined) stack += `${value.stack}\n`
    } else if (value !== undefined) {
      line += ` \u001b[2m${key}=\u001b[0m${typeof value === 'string' ? value : toJson(value)}`
    }
  }
  return `${line}\n${stack}`
}

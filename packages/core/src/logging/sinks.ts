/** Writes lines to a logger of another library. */
import { plain } from '../plain.ts'
import { addFields, type Fields } from './fields.ts'
import type { LineLevel } from './levels.ts'

/** Where a logger writes its lines. */
export interface Sink {
  isEnabled(level: LineLevel): boolean
  /** May throw, and may return a promise. */
  write(level: LineLevel, fields: Fields, message: string): unknown
}

type Write = (fields: object, message?: string) => unknown

/**
 * A logger that ZyQueue can write to: pino, winston, `console`, or an object with these four methods. ZyQueue calls them with an
 * object of fields and a message, as pino's. An error is the field `err`.
 */
export interface LoggerLike {
  readonly debug: Write
  readonly info: Write
  readonly warn: Write
  readonly error: Write
  /** If it exists, ZyQueue calls it before it makes a line. */
  isLevelEnabled?(level: string): boolean
}

export function sinkOf(logger: LoggerLike): Sink {
  const isEnabled = (level: LineLevel): boolean => logger.isLevelEnabled?.(level) ?? true
  if (isWinston(logger)) {
    // Its methods take the message first, and it writes an error as an empty object.
    const write = (level: LineLevel, fields: Fields, message: string): unknown =>
      logger.log(Object.assign(Object(plain(addFields({ level, message }, fields))), { level, message }))
    return { isEnabled, write }
  }
  return { isEnabled, write: (level, fields, message) => logger[level]({ ...fields }, message) }
}

function isWinston(logger: object): logger is { log(line: object): unknown } {
  return 'log' in logger && typeof logger.log === 'function' && 'transports' in logger
}

/** True for an object that ZyQueue can write to. */
export function isLoggerLike(value: unknown): value is LoggerLike {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return ['debug', 'info', 'warn', 'error'].every((level) => typeof Reflect.get(value, level) === 'function')
}

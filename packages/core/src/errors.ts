import { types } from 'node:util'
import { ERROR_CODES, type CodeOf, type ErrorKind } from './error-codes.ts'

const brand: unique symbol = Symbol.for('@zyqueue/core/error@1')

/**
 * Every error that ZyQueue rejects or throws with.
 *
 * `instanceof` looks at a brand and the kind, not at the class, so it holds between two copies of this package
 * (a task file's and an npx cache's).
 */
export abstract class ZyQueueError<Kind extends ErrorKind = ErrorKind> extends Error {
  readonly code: CodeOf<Kind>
  /** Whether the same call may succeed later without any change. */
  readonly retryable: boolean
  readonly [brand]: ErrorKind

  constructor(code: CodeOf<Kind>, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.retryable = ERROR_CODES[code].retryable
    this[brand] = ERROR_CODES[code].kind
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) !== undefined
  }
}

/** What the caller wrote cannot be: an option, a name, a package that is not there. */
export class ConfigError extends ZyQueueError<'config'> {
  override readonly name = 'ConfigError'

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) === 'config'
  }
}

/** The broker could not, would not, or did not answer. */
export class BrokerError extends ZyQueueError<'broker'> {
  override readonly name: string = 'BrokerError'

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) === 'broker'
  }
}

/** Data that cannot be encoded, bytes that cannot be decoded, or either that does not fit the task's schema. */
export class CodecError extends ZyQueueError<'codec'> {
  override readonly name = 'CodecError'

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) === 'codec'
  }
}

/** A job did not come to its end: it threw, ran too long, or took its worker with it. */
export class JobError extends ZyQueueError<'job'> {
  override readonly name = 'JobError'

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) === 'job'
  }
}

function kindOf(value: unknown): unknown {
  try {
    return typeof value === 'object' && value !== null && brand in value ? value[brand] : undefined
  } catch {
    // A proxy may throw at any touch, and `errorCode` of an adapter must not.
    return undefined
  }
}

/** The longest text that is read out of a foreign error, in UTF-16 code units. */
const MAX_TEXT = 16_384

/**
 * The message of anything that was thrown, on one line and without a stack; of a long one the beginning. Never throws.
 */
export function messageOf(error: unknown): string {
  try {
    const lines = clipText(ownMessage(error)).split(/[\n\r\u2028\u2029]+/)
    if (lines.length === 1) return lines.join()
    return lines
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .join(' ')
  } catch {
    // Anything can be thrown: an object without a prototype, a revoked proxy.
    return 'something that has no message'
  }
}

/** The beginning of a text that may be of any length. */
export function clipText(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text
}

/** Whether it is an error, also one of another realm, as code in a `vm` context throws. Never throws. */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error || types.isNativeError(value)
  } catch {
    // A proxy may throw at any touch.
    return false
  }
}

function ownMessage(error: unknown): string {
  // Whatever their types say, these two may hold anything.
  const message: unknown = isError(error) ? error.message || error.name : error
  // Some libraries throw plain objects that look like errors.
  const isLikeError = typeof message === 'object' && message !== null && 'message' in message
  return String(isLikeError && typeof message.message === 'string' ? message.message : message)
}

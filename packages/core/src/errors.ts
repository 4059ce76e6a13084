import { types } from 'node:util'
import { ERROR_CODES, type CodeOf, type ErrorKind } from './error-codes.ts'

const brand: unique symbol = Symbol.for('@zyqueue/core/error@1')

/**
 * Every error that ZyQueue rejects or throws with.
 *
 * `instanceof` checks a brand and the kind, not the class, so it works between two copies of this package (the task file's
 * and the npx cache's).
 */
export abstract class ZyQueueError<Kind extends ErrorKind = ErrorKind> extends Error {
  readonly code: CodeOf<Kind>
  /** True if the same call may succeed later without a change. */
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

/** An option, a name or a package is invalid or missing. */
export class ConfigError extends ZyQueueError<'config'> {
  override readonly name = 'ConfigError'

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) === 'config'
  }
}

/** The broker failed, refused, or did not answer. */
export class BrokerError extends ZyQueueError<'broker'> {
  override readonly name: string = 'BrokerError'

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) === 'broker'
  }
}

/** Data cannot be encoded or decoded, or does not fit the task's schema. */
export class CodecError extends ZyQueueError<'codec'> {
  override readonly name = 'CodecError'

  static override [Symbol.hasInstance](value: unknown): boolean {
    return kindOf(value) === 'codec'
  }
}

/** A job failed: it threw, ran too long, or ended its worker process. */
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
    // A proxy may throw on any access, and `errorCode` of an adapter must not throw.
    return undefined
  }
}

/** The maximum text of a foreign error, in UTF-16 code units. */
const MAX_TEXT = 16_384

/**
 * The message of any thrown value, on one line, without a stack, cut if it is long. Never throws.
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
    // The thrown value may be an object without a prototype or a revoked proxy.
    return 'a value without a message'
  }
}

/** Cuts a text to `most` UTF-16 code units. */
export function clipText(text: string, most: number = MAX_TEXT): string {
  return text.length > most ? `${text.slice(0, most)}…` : text
}

/** True for an error, also of another realm such as a `vm` context. Never throws. */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error || types.isNativeError(value)
  } catch {
    // A proxy may throw on any access.
    return false
  }
}

function ownMessage(error: unknown): string {
  // At run time, `message` and `name` may have any type.
  const message: unknown = isError(error) ? error.message || error.name : error
  // Some libraries throw plain objects that look like errors.
  const isLikeError = typeof message === 'object' && message !== null && 'message' in message
  return String(isLikeError && typeof message.message === 'string' ? message.message : message)
}

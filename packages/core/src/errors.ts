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
  /** Whether the same call may succeed later without anybody changing anything. */
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

/** The message of anything that was thrown, on one line and without a stack. Never throws. */
export function messageOf(error: unknown): string {
  try {
    const message: unknown = error instanceof Error ? error.message || error.name : error
    return String(message).replaceAll(/\s*\n\s*/g, ' ')
  } catch {
    // Anything can be thrown: an object without a prototype, a revoked proxy.
    return 'something that has no message'
  }
}

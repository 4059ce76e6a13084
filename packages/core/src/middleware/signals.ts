import { ConfigError, messageOf } from '../errors.ts'
import { MAX_DELAY_MS } from '../limits.ts'

const brand: unique symbol = Symbol.for('@zyqueue/core/signal@1')

export interface RetryOptions {
  /** The job is ready again after this many ms, at most ten years. Default: the task's backoff. */
  readonly delayMs?: number
  /** The reason, which is stored with the job. */
  readonly cause?: unknown
}

/**
 * Thrown by a handler: the attempt has failed and must be retried, unless no retries are left. Not logged as an error. If a service
 * asks to be called later (HTTP 429), throw `Postpone`, which uses no retry.
 *
 * The constructor throws `ConfigError` (`ZYQ_CONFIG`) if `delayMs` is not a number of ms from 0 to ten years.
 */
export class Retry extends Error {
  override readonly name = 'Retry'
  readonly delayMs: number | undefined
  readonly [brand] = 'retry'

  constructor(options: RetryOptions = {}) {
    super('The handler asked for a retry', 'cause' in options ? { cause: options.cause } : {})
    checkDelay(options.delayMs)
    this.delayMs = options.delayMs
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return signalOf(value) === 'retry'
  }
}

/** Thrown by a handler: the job is obsolete. It ends without retries and without a dead letter. Not logged as an error. */
export class Discard extends Error {
  override readonly name = 'Discard'
  readonly [brand] = 'discard'

  constructor(reason = 'The handler discarded the job') {
    super(textOf(reason))
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return signalOf(value) === 'discard'
  }
}

/**
 * Thrown by a handler: the job has failed permanently. It becomes a dead letter, also if retries are left. A waiting caller
 * (`task.call`) receives the error.
 */
export class Reject extends Error {
  override readonly name = 'Reject'
  readonly [brand] = 'reject'

  /** `reason` is stored with the dead letter. */
  constructor(reason = 'The handler rejected the job', options?: { readonly cause?: unknown }) {
    super(textOf(reason), options)
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return signalOf(value) === 'reject'
  }
}

export type PostponeOptions =
  | {
      /** The job is ready again this many ms from now, from 0 to ten years. */
      readonly delayMs: number
    }
  | {
      /** The job is ready again at this instant, in ms since 1970 or as a `Date`. An instant that has passed means now. */
      readonly readyAtMs: number | Date
    }

/**
 * Thrown by a handler: the job must run later, and nothing has failed. It counts no attempt, and is not logged as a failure.
 * Use it if a service asks to be called again later. `maxPostponeMs` of the task bounds how long a job is postponed in all.
 *
 * ```ts
 * if (response.status === 429) throw new Postpone({ delayMs: 1_000 * Number(response.headers.get('retry-after')) })
 * ```
 *
 * The constructor throws `ConfigError` (`ZYQ_CONFIG`) if the options have no such instant.
 */
export class Postpone extends Error {
  override readonly name = 'Postpone'
  /** When the job is ready again, in ms since 1970. */
  readonly readyAtMs: number
  readonly [brand] = 'postpone'

  constructor(options: PostponeOptions) {
    super('The handler postponed the job')
    this.readyAtMs = readyAtOf(options)
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return signalOf(value) === 'postpone'
  }
}

/** Checks the types first, because callers in JavaScript may give any value. */
function readyAtOf(options: unknown): number {
  const given = typeof options === 'object' && options !== null ? options : {}
  const delayMs: unknown = 'delayMs' in given ? given.delayMs : undefined
  const readyAt: unknown = 'readyAtMs' in given ? given.readyAtMs : undefined
  const now = Date.now()
  const readyAtMs = readyAt instanceof Date ? readyAt.getTime() : readyAt
  const instant = typeof delayMs === 'number' ? now + Math.max(0, delayMs) : readyAtMs
  const isGiven = (delayMs === undefined) !== (readyAt === undefined)
  if (isGiven && typeof instant === 'number' && instant <= now + MAX_DELAY_MS) return instant
  throw new ConfigError(
    'ZYQ_CONFIG',
    `Postpone: give either delayMs, a number of ms from 0 to ${MAX_DELAY_MS}, or readyAtMs, ms since 1970 or a Date.`,
  )
}

/** Throws `ConfigError` (`ZYQ_CONFIG`). Checks the type first: a BigInt, a `Date` and a string compare like numbers. */
export function checkDelay(delayMs: unknown): void {
  if (delayMs === undefined || isDelay(delayMs)) return
  const got = typeof delayMs === 'number' ? String(delayMs) : `a value of type ${typeof delayMs}`
  throw new ConfigError('ZYQ_CONFIG', `Retry: delayMs must be a number of ms from 0 to ${MAX_DELAY_MS}, not ${got}.`)
}

export function isDelay(delayMs: unknown): delayMs is number {
  return typeof delayMs === 'number' && delayMs >= 0 && delayMs <= MAX_DELAY_MS
}

/** Callers in JavaScript may give errors and other values as a reason. */
function textOf(reason: unknown): string {
  return typeof reason === 'string' ? reason : messageOf(reason)
}

function signalOf(value: unknown): unknown {
  try {
    return typeof value === 'object' && value !== null && brand in value ? value[brand] : undefined
  } catch {
    // A proxy may throw on any access, and any thrown value must be handled.
    return undefined
  }
}

import { Buffer, isUtf8 } from 'node:buffer'
import type { Headers } from '../contract/index.ts'
import { CodecError, isError, messageOf } from '../errors.ts'
import { toJsonText } from './json-data.ts'

/** The headers that core adds to a job. A first submission without options to the task's own queue has none. */
export const HEADER = {
  /** The task, if the queue has another name. */
  task: 'zyq-task',
  /** The number of failed attempts. */
  attempts: 'zyq-attempts',
  /** The error of the last failed attempt, in one line. */
  error: 'zyq-error',
  /** The submission's retry limit, which overrides the task's. */
  retries: 'zyq-retries',
  /** Set by the supervisor if it killed the process because of this job: the error code. */
  killed: 'zyq-killed',
  /** Set by the supervisor if a killed process was blocked and ran several jobs: the job must run alone the next time. */
  runAlone: 'zyq-run-alone',
  /** The number of lost deliveries that were such kills. They do not count against `maxDeliveries`. */
  kills: 'zyq-kills',
  /** When the job was postponed the first time, in ms since 1970. */
  postponedSince: 'zyq-postponed-since',
  /** From when on the job must not run, in ms since 1970. */
  expiresAt: 'zyq-expires-at',
  /** On a dead letter: the number of attempts. */
  attemptsMade: 'zyq-attempts-made',
  /** On a dead letter: see `failure.ts`. */
  failure: 'zyq-failure',
} as const

const ERROR_LENGTH = 1000

export const NO_HEADERS: Headers = Object.freeze(emptyHeaders())

/** Headers without a prototype, so that a foreign key such as `__proto__` has no effect. */
export function emptyHeaders(): Record<string, string> {
  return Object.create(null)
}

/**
 * Copies headers with changes. `undefined` removes a header. Values that are not strings are dropped: no broker can carry
 * them.
 */
export function withHeaders(headers: Headers, changes: Readonly<Record<string, string | undefined>>): Headers {
  const result = emptyHeaders()
  for (const [key, value] of Object.entries(headers)) if (typeof value === 'string') result[key] = value
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) delete result[key]
    else result[key] = value
  }
  return result
}

/**
 * A job's data as bytes: JSON in UTF-8, `null` for undefined. `name` is what the error calls it. Throws `CodecError`
 * (`ZYQ_ENCODE`).
 */
export function encodeData(data: unknown, name = 'data'): Uint8Array {
  return Buffer.from(toJsonText(data, name))
}

/** Decodes a body. Throws `CodecError` (`ZYQ_DECODE`). */
export function decodeData(body: Uint8Array): unknown {
  if (!isUtf8(body)) throw new CodecError('ZYQ_DECODE', 'The body is not JSON: it is not UTF-8.')
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
  } catch (error) {
    throw new CodecError('ZYQ_DECODE', `The body is not JSON: ${messageOf(error)}`, { cause: error })
  }
}

/** Reads a count from a header, or `fallback` if it is absent. Throws `CodecError` (`ZYQ_DECODE`) if it is not a count. */
export function countHeader(headers: Headers, name: string, fallback: number): number {
  const text = headers[name]
  if (text === undefined) return fallback
  if (!/^\d{1,9}$/.test(text)) throw new CodecError('ZYQ_DECODE', `The header ${name} is not a count.`)
  return Number(text)
}

/** Reads a time in ms since 1970 from a header, or `fallback` if it is absent or invalid. */
export function timeHeader(headers: Headers, name: string, fallback: number): number {
  const text = headers[name]
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : fallback
}

/** Describes a thrown value in one line that fits into a header. Never throws. */
export function errorHeader(error: unknown): string {
  const text = `${nameOf(error)}${messageOf(error)}`
  // Encoding to bytes and back replaces half a surrogate pair, which brokers cannot carry.
  return Buffer.from(text.length > ERROR_LENGTH ? `${text.slice(0, ERROR_LENGTH)}…` : text).toString()
}

function nameOf(error: unknown): string {
  try {
    return isError(error) ? `${messageOf(error.name)}: ` : ''
  } catch {
    return ''
  }
}

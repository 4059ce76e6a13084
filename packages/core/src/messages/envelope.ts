import { Buffer, isUtf8 } from 'node:buffer'
import type { Headers } from '../contract/index.ts'
import { CodecError, isError, messageOf } from '../errors.ts'

/** Headers that core puts beside a job's body. All are absent on a plain first submission to a queue of one task. */
export const HEADER = {
  /** The task, where the queue does not bear its name. */
  task: 'zyq-task',
  /** How many attempts have failed. */
  attempts: 'zyq-attempts',
  /** What the last failed attempt threw, in one line. */
  error: 'zyq-error',
  /** Retries that this submission asked for, over the task's own. */
  retries: 'zyq-retries',
  /** Set by the supervisor on a job whose process it had to kill: the code of what the job had done. */
  killed: 'zyq-killed',
  /** Set by the supervisor if a killed process was blocked and ran several jobs: the job must run alone the next time. */
  runAlone: 'zyq-run-alone',
  /** How many of its lost deliveries were such kills: those count as attempts or not at all, and not as deaths. */
  kills: 'zyq-kills',
  /** When the job was postponed the first time, in ms since 1970. */
  postponedSince: 'zyq-postponed-since',
  /** On a dead letter: how many attempts it had. */
  attemptsMade: 'zyq-attempts-made',
} as const

const ERROR_LENGTH = 1000

export const NO_HEADERS: Headers = Object.freeze(emptyHeaders())

/** Headers without a prototype, so that no key of a stranger's message means more than it says. */
export function emptyHeaders(): Record<string, string> {
  return Object.create(null)
}

/** A copy with changes; `undefined` takes a header away. What a handler put in that is no text is left out: no broker can carry it. */
export function withHeaders(headers: Headers, changes: Readonly<Record<string, string | undefined>>): Headers {
  const result = emptyHeaders()
  for (const [key, value] of Object.entries(headers)) if (typeof value === 'string') result[key] = value
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) delete result[key]
    else result[key] = value
  }
  return result
}

/** A job's data as bytes: JSON in UTF-8, `null` for undefined. Throws `CodecError` (`ZYQ_ENCODE`). */
export function encodeData(data: unknown): Uint8Array {
  try {
    return Buffer.from(JSON.stringify(data) ?? 'null')
  } catch (error) {
    throw new CodecError('ZYQ_ENCODE', `The data cannot be written as JSON: ${messageOf(error)}`, { cause: error })
  }
}

/** The data in a body. Throws `CodecError` (`ZYQ_DECODE`). */
export function decodeData(body: Uint8Array): unknown {
  if (!isUtf8(body)) throw new CodecError('ZYQ_DECODE', 'The body is not JSON: it is not UTF-8.')
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
  } catch (error) {
    throw new CodecError('ZYQ_DECODE', `The body is not JSON: ${messageOf(error)}`, { cause: error })
  }
}

/** A count that a header carries; `fallback` where it is absent. Throws `CodecError` (`ZYQ_DECODE`) where it is no count. */
export function countHeader(headers: Headers, name: string, fallback: number): number {
  const text = headers[name]
  if (text === undefined) return fallback
  if (!/^\d{1,9}$/.test(text)) throw new CodecError('ZYQ_DECODE', `The header ${name} is not a count.`)
  return Number(text)
}

/** An instant in ms since 1970 that a header carries; `fallback` if it is absent or another program wrote something else. */
export function timeHeader(headers: Headers, name: string, fallback: number): number {
  const text = headers[name]
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : fallback
}

/** What was thrown, in one line short enough for a header. Never throws. */
export function errorHeader(error: unknown): string {
  const text = `${nameOf(error)}${messageOf(error)}`
  // By way of bytes: half a surrogate pair, cut off here or thrown as it is, would be no text that brokers can carry.
  return Buffer.from(text.length > ERROR_LENGTH ? `${text.slice(0, ERROR_LENGTH)}…` : text).toString()
}

function nameOf(error: unknown): string {
  try {
    return isError(error) ? `${messageOf(error.name)}: ` : ''
  } catch {
    return ''
  }
}

/**
 * The format of a job in one column: its id, a line feed, its headers as JSON, a line feed, its body. One value per job makes a
 * batch cheap, and `SELECT CAST(message AS TEXT) FROM job` is still readable. The version of the format is the file's
 * `user_version` (schema.ts).
 */
import type { Headers } from '@zyqueue/core/broker'
import { rawBytes } from './decode.ts'
import type { SqlValue } from './driver.ts'

/** The longest id that the contract allows, in bytes. An id and its line feed are within the first `ID_BYTES + 1` bytes of a message. */
export const ID_BYTES = 63
const LINE_FEED = 10
const UNDECODABLE = 'undecodable-'
const NO_HEADERS: Headers = Object.freeze(Object.create(null))

export interface Message {
  readonly id: string
  readonly headers: Headers
  readonly body: Uint8Array
}

/** The id must be printable ASCII (`isMessageId`): a line feed would end it. */
export function encodeMessage({ id, headers, body }: Message): Buffer {
  const head = `${id}\n${JSON.stringify(headers)}\n`
  const headBytes = Buffer.byteLength(head)
  const message = Buffer.allocUnsafe(headBytes + body.length)
  message.write(head)
  message.set(body, headBytes)
  return message
}

/** A message as the file has it. If it is not what `encodeMessage` writes, `undecodable` says why. */
export interface StoredMessage extends Message {
  readonly undecodable?: string
}

/**
 * Reads the message of the job `seq`; its `body` is a view into it. Never throws: another program can write into the file, and
 * one row must not stop the others. A message that cannot be read is all body, without headers.
 */
export function readMessage(seq: number, column: SqlValue | undefined): StoredMessage {
  const message = rawBytes(column)
  const idEnd = message.indexOf(LINE_FEED)
  const headEnd = message.indexOf(LINE_FEED, idEnd + 1)
  const headers = idEnd < 0 || headEnd < 0 ? undefined : parseHeaders(message.toString('utf8', idEnd + 1, headEnd))
  const id = message.toString('latin1', 0, Math.max(0, idEnd))
  if (headers !== undefined && isMessageId(id)) return { id, headers, body: message.subarray(headEnd + 1) }
  const undecodable = `the queue file holds ${message.length} bytes that are not a stored job`
  return { id: readId(seq, message), headers: NO_HEADERS, body: message, undecodable }
}

/** The id of a message, from at least its first `ID_BYTES + 1` bytes. If they contain no id, the id names the row of the job. */
export function readId(seq: number, column: SqlValue | undefined): string {
  const message = rawBytes(column)
  const id = message.toString('latin1', 0, Math.max(0, message.indexOf(LINE_FEED)))
  return isMessageId(id) ? id : `${UNDECODABLE}${seq}`
}

/** The seq in an id that `readId` made up; [] for any other id. */
export function seqOfUndecodable(id: string): readonly number[] {
  const seq = id.startsWith(UNDECODABLE) ? Number(id.slice(UNDECODABLE.length)) : NaN
  return Number.isSafeInteger(seq) ? [seq] : []
}

export function isMessageId(id: string): boolean {
  return id.length <= ID_BYTES && /^[\x20-\x7e]+$/.test(id)
}

/** Without a prototype, so that a header named `constructor` or `__proto__` is just that. Undefined if the text is not headers. */
function parseHeaders(json: string): Headers | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch {
    return undefined
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined
  const headers: Record<string, string> = Object.create(null)
  for (const [name, value] of Object.entries(parsed)) {
    if (typeof value !== 'string') return undefined
    headers[name] = value
  }
  return headers
}

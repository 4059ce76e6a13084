/**
 * The format of a stored job: a head of 18 bytes, the id, the headers as JSON, the body. The scripts read and change only the
 * first eight bytes, with `struct.unpack('>BBI6')`.
 *
 *     0      priority, 0–9
 *     1      deliveries: how often the job was lost with its worker; stops at 255
 *     2–7    order: position among the jobs of its priority in the sorted set; 0 in the list
 *     8–13   time of publish, in ms since 1970
 *     14     two high bits: version of this format, now 0; six low bits: length of the id in bytes
 *     15–17  length of the headers in bytes; 0 if there are none
 *
 * All integers are unsigned and big-endian.
 */
import type { Headers } from '@zyqueue/core/broker'

interface Content {
  readonly id: string
  readonly priority: number
  readonly body: Uint8Array
}

interface StoredState {
  /** In ms since 1970. */
  readonly storedAtMs: number
  readonly deliveries: number
  readonly order: number
}

export interface Message extends Content, StoredState {
  readonly headers: Headers
}

const HEAD_BYTES = 18
/** The version of the format that this package writes and reads. */
const FORMAT = 0
const MAX_PRIORITY = 9
/** The id of a stored value that is not a job. */
export const UNREADABLE = 'unreadable'
/** The longest id that the contract allows. */
const ID_BYTES = 63
/** The byte with the version and the length of the id. */
const VERSION_AT = 14
/** The largest number in three bytes. */
export const MAX_HEADERS_BYTES: number = 2 ** 24 - 1

export function encodeMessage(message: Message): Buffer {
  const headers = headersJson(message.headers)
  const encoded = Buffer.allocUnsafe(sizeOfMessage(message, headers))
  writeMessage(encoded, 0, message, headers, message)
  return encoded
}

/** The size in bytes. `headers` must come from `headersJson`. */
export function sizeOfMessage({ id, body }: Content, headers: string): number {
  return HEAD_BYTES + id.length + (headers === '' ? 0 : Buffer.byteLength(headers)) + body.length
}

/**
 * Writes a message into `target` at `at` and returns its end. The id must pass `isMessageId`. The headers must come from
 * `headersJson` and have at most `MAX_HEADERS_BYTES`. A whole batch is written into one buffer, because one buffer for each job
 * would take more time than all other work of a publish.
 */
export function writeMessage(
  target: Buffer,
  at: number,
  content: Content,
  headers: string,
  state: StoredState,
): number {
  const { id, body } = content
  const headersAt = at + HEAD_BYTES + id.length
  target.write(id, at + HEAD_BYTES, 'latin1')
  const bodyAt = headersAt + (headers === '' ? 0 : target.write(headers, headersAt))
  const headersBytes = bodyAt - headersAt
  target[at] = content.priority
  target[at + 1] = Math.min(state.deliveries, 255)
  writeUint48(target, at + 2, state.order)
  writeUint48(target, at + 8, state.storedAtMs)
  target[at + 14] = id.length
  target[at + 15] = headersBytes >> 16
  target[at + 16] = headersBytes >> 8
  target[at + 17] = headersBytes
  target.set(body, bodyAt)
  return bodyAt + body.length
}

/** Several times as fast as `writeUIntBE`, because it does not check its arguments. */
function writeUint48(target: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32)
  target[at] = high >> 8
  target[at + 1] = high
  target[at + 2] = value >>> 24
  target[at + 3] = value >>> 16
  target[at + 4] = value >>> 8
  target[at + 5] = value
}

/**
 * Decodes a stored job; `body` is a view into `encoded`. Undefined if the format is unknown: another program or a newer version
 * of this package wrote it. Such a job becomes a dead letter with all its bytes.
 */
export function readMessage(encoded: Buffer): Message | undefined {
  if (encoded.length < HEAD_BYTES) return undefined
  const versionAndIdBytes = encoded.readUInt8(VERSION_AT)
  if (versionAndIdBytes > ID_BYTES) return undefined
  const headersAt = HEAD_BYTES + versionAndIdBytes
  const bodyAt = headersAt + encoded.readUIntBE(15, 3)
  if (bodyAt > encoded.length) return undefined
  const id = encoded.toString('latin1', HEAD_BYTES, headersAt)
  const priority = encoded.readUInt8(0)
  const headers = bodyAt === headersAt ? NO_HEADERS : parseHeaders(encoded.toString('utf8', headersAt, bodyAt))
  if (headers === undefined || priority > MAX_PRIORITY || !isMessageId(id)) return undefined
  return {
    id,
    priority,
    headers,
    body: encoded.subarray(bodyAt),
    storedAtMs: encoded.readUIntBE(8, 6),
    deliveries: encoded.readUInt8(1),
    order: encoded.readUIntBE(2, 6),
  }
}

/** Why `readMessage` cannot decode a value, for the reason of a dead letter. */
export function describeUnreadable(encoded: Buffer): string {
  const isOurs = encoded.length >= HEAD_BYTES && encoded.readUInt8(0) <= MAX_PRIORITY
  const format = isOurs ? encoded.readUInt8(VERSION_AT) >> 6 : FORMAT
  return format === FORMAT
    ? 'The stored job cannot be read: another program wrote it, or it is damaged.'
    : `The job has format ${format}, and this version of @zyqueue/broker-redis reads format ${FORMAT}. Update it, then requeue the dead letter.`
}

export function isMessageId(id: string): boolean {
  return id.length <= ID_BYTES && /^[\x20-\x7e]+$/.test(id)
}

/** The stored form of headers: an empty string if there are none. */
export function headersJson(headers: Headers): string {
  for (const _ in headers) return JSON.stringify(headers)
  return ''
}

const NO_HEADERS: Headers = Object.freeze(emptyHeaders())

/** Without a prototype, so that headers may be named `constructor` or `__proto__`. */
export function emptyHeaders(): Record<string, string> {
  return Object.create(null)
}

function parseHeaders(json: string): Headers | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch {
    return undefined
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined
  const headers = emptyHeaders()
  for (const [name, value] of Object.entries(parsed)) {
    if (typeof value !== 'string') return undefined
    headers[name] = value
  }
  return headers
}

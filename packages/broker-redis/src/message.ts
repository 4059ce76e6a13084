/**
 * How a job is written into one value: a head of fixed length, its id, its headers as JSON, its body. The scripts read and
 * patch the first eight bytes only, by `struct.unpack('>BBI6')`.
 *
 *     0      priority, 0–9
 *     1      deliveries: how often it was lost with its owner; stops at 255
 *     2–7    order: where it stands among those of its priority that are not in the list; 0 in the list
 *     8–13   when it was stored, in ms since 1970
 *     14     version of this format in the two high bits, 0 now; length of the id in bytes in the others
 *     15–17  length of the headers in bytes; 0 where there are none
 *
 * All integers are unsigned and big-endian.
 */
import type { Headers } from '@zyqueue/core/broker'

/** What a message says, wherever it stands. */
interface Content {
  readonly id: string
  readonly priority: number
  readonly body: Uint8Array
}

/** What the scripts change. */
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
const MAX_PRIORITY = 9
/** Stands for the id of a stored value that is no job. */
export const UNREADABLE = 'unreadable'
/** The longest id that the contract allows. */
const ID_BYTES = 63
/** What three bytes can count. */
export const MAX_HEADERS_BYTES: number = 2 ** 24 - 1

export function encodeMessage(message: Message): Buffer {
  const headers = headersJson(message.headers)
  const encoded = Buffer.allocUnsafe(sizeOfMessage(message, headers))
  writeMessage(encoded, 0, message, headers, message)
  return encoded
}

/** In bytes; `headers` as `headersJson` gives them. */
export function sizeOfMessage({ id, body }: Content, headers: string): number {
  return HEAD_BYTES + id.length + (headers === '' ? 0 : Buffer.byteLength(headers)) + body.length
}

/**
 * Writes a message into `target` from `at` on; returns where it ends. The id is to be a message id (`isMessageId`), and the
 * headers, as `headersJson` gives them, at most `MAX_HEADERS_BYTES`. A batch is written into one buffer: a buffer for each
 * job would cost more than all the rest.
 */
export function writeMessage(
  target: Buffer,
  at: number,
  content: Content,
  headers: string,
  standing: StoredState,
): number {
  const { id, body } = content
  const headersAt = at + HEAD_BYTES + id.length
  target.write(id, at + HEAD_BYTES, 'latin1')
  const bodyAt = headersAt + (headers === '' ? 0 : target.write(headers, headersAt))
  const headersBytes = bodyAt - headersAt
  target[at] = content.priority
  target[at + 1] = Math.min(standing.deliveries, 255)
  writeUint48(target, at + 2, standing.order)
  writeUint48(target, at + 8, standing.storedAtMs)
  target[at + 14] = id.length
  target[at + 15] = headersBytes >> 16
  target[at + 16] = headersBytes >> 8
  target[at + 17] = headersBytes
  target.set(body, bodyAt)
  return bodyAt + body.length
}

/** Several times as fast as `writeUIntBE`, which checks what is known here. */
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
 * `body` is a view into `encoded`. Undefined if `encodeMessage` did not write it: it comes from another program, or from a
 * version of this package with a newer format. Such a job becomes a dead letter with all its bytes.
 */
export function readMessage(encoded: Buffer): Message | undefined {
  if (encoded.length < HEAD_BYTES) return undefined
  const versionAndIdBytes = encoded.readUInt8(14)
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

export function isMessageId(id: string): boolean {
  return id.length <= ID_BYTES && /^[\x20-\x7e]+$/.test(id)
}

/** The headers as they are stored: nothing at all where there are none. */
export function headersJson(headers: Headers): string {
  for (const _ in headers) return JSON.stringify(headers)
  return ''
}

const NO_HEADERS: Headers = Object.freeze(emptyHeaders())

/** Without a prototype, so that a header named `constructor` or `__proto__` is just that. */
function emptyHeaders(): Record<string, string> {
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

/**
 * How a job is written into one column: its id, a line feed, its headers as JSON, a line feed, its body. One value to bind
 * and one to read back is what makes a batch cheap, and `SELECT CAST(message AS TEXT) FROM job` is still readable.
 */
import { BrokerError, type Headers } from '@zyqueue/core/broker'

/** The longest id that the contract allows, in bytes. With its line feed it stands in the first `ID_BYTES + 1` of a message. */
export const ID_BYTES = 63
const LINE_FEED = 10

export interface Message {
  readonly id: string
  readonly headers: Headers
  readonly body: Uint8Array
}

/** The id is to be printable ASCII (`isMessageId`): a line feed in it would end it. */
export function encodeMessage({ id, headers, body }: Message): Buffer {
  const head = `${id}\n${JSON.stringify(headers)}\n`
  const headBytes = Buffer.byteLength(head)
  const message = Buffer.allocUnsafe(headBytes + body.length)
  message.write(head)
  message.set(body, headBytes)
  return message
}

/** `body` is a view into `message`. Throws `ZYQ_STORAGE_DAMAGED` where it is not what `encodeMessage` wrote. */
export function decodeMessage(message: Buffer): Message {
  const idEnd = message.indexOf(LINE_FEED)
  const headEnd = message.indexOf(LINE_FEED, idEnd + 1)
  if (idEnd < 0 || headEnd < 0) throw damaged()
  return {
    id: message.toString('latin1', 0, idEnd),
    headers: parseHeaders(message.toString('utf8', idEnd + 1, headEnd)),
    body: message.subarray(headEnd + 1),
  }
}

/** The id of a message of which at least the first `ID_BYTES + 1` bytes are given. */
export function idOf(start: Buffer): string {
  const idEnd = start.indexOf(LINE_FEED)
  if (idEnd < 0) throw damaged()
  return start.toString('latin1', 0, idEnd)
}

export function isMessageId(id: string): boolean {
  return id.length <= ID_BYTES && /^[\x20-\x7e]+$/.test(id)
}

/** Without a prototype, so that a header named `constructor` or `__proto__` is just that. */
function parseHeaders(json: string): Headers {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch (cause) {
    throw damaged(cause)
  }
  if (typeof parsed !== 'object' || parsed === null) throw damaged()
  const headers: Record<string, string> = Object.create(null)
  for (const [name, value] of Object.entries(parsed)) {
    if (typeof value !== 'string') throw damaged()
    headers[name] = value
  }
  return headers
}

function damaged(cause?: unknown): BrokerError {
  return new BrokerError('ZYQ_STORAGE_DAMAGED', 'The queue file is damaged: a stored job cannot be read', { cause })
}

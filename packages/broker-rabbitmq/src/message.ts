import { createHash, randomUUID } from 'node:crypto'
import type { Message, MessageProperties, Options } from 'amqplib'
import type { Headers } from '@zyqueue/core/broker'

/** Core's header for the task. It is sent as the `type` of the message. */
const TASK_HEADER = 'zyq-task'
/** This header is sent as the property, by which other programs correlate replies. */
const CORRELATION_HEADER = 'correlation-id'

interface Job {
  readonly queue: string
  readonly id: string
  readonly headers: Headers
  readonly priority: number
}

interface Description {
  readonly type: string
  readonly correlationId: string | undefined
  readonly headers: Readonly<Record<string, string>> | undefined
}

/** The prefix of this adapter's own headers, which jobs do not see. */
const OWN = 'zyq-amqp-'
/** The version of the headers below. A message of a newer version is a dead letter, as it is. */
const FORMAT = 1
export const OWN_HEADER = {
  format: `${OWN}format`,
  /** Lost deliveries of earlier copies. The server counts each copy from 0. */
  deliveries: `${OWN}deliveries`,
  /** The reason of a dead letter, and its time in ms since 1970. */
  reason: `${OWN}reason`,
  diedAt: `${OWN}died-at`,
  /** Followed by a delay level that the message must pass. */
  delay: `${OWN}delay-`,
  /** The exchange of a delayed message after its delay, if it is not the default one. */
  exchange: `${OWN}exchange`,
  /** If the delay is longer than all levels: when it is over, in ms since 1970. */
  readyAt: `${OWN}ready-at`,
  /** Followed by the name of a header that cannot be sent under its own name. */
  escaped: `${OWN}header:`,
} as const

/** Headers that RabbitMQ writes or interprets. */
const SERVERS = /^(?:x-death|x-(?:first|last)-death-.*|x-delivery-count|x-acquired-count|x-opt-.*|cc|bcc)$/
const SHORT_TEXT_BYTES = 255

type Table = Readonly<Record<string, unknown>>

/** A received message as a job. */
export interface Received {
  readonly id: string
  readonly headers: Headers
  readonly priority: number
  readonly deliveryCount: number
  readonly storedAtMs: number | undefined
  /** Why the body cannot be decoded. */
  readonly undecodable: string | undefined
  /** Whether only the flag of a classic queue says that it had an owner. */
  readonly isUncounted: boolean
  /** When the rest of its delay is over, in ms since 1970. */
  readonly readyAtMs: number | undefined
}

/** Core's default, for messages of other programs without a priority. */
const NORMAL_PRIORITY = 4
const HIGHEST_PRIORITY = 9

/** The properties of a job's first copy. */
export function propertiesOf({ queue, id, headers, priority }: Job): Options.Publish {
  const { type, correlationId, headers: table } = describe(queue, headers)
  const properties: Options.Publish = {
    contentType: 'application/json',
    messageId: id,
    timestamp: Math.floor(Date.now() / 1000),
    persistent: true,
    mandatory: true,
    priority,
    type,
    headers: Object.assign(table ?? emptyTable(), { [OWN_HEADER.format]: FORMAT }),
  }
  if (correlationId !== undefined) properties.correlationId = correlationId
  return properties
}

/** The properties of a copy: those of the message without the headers that RabbitMQ added or would interpret again. */
export function propertiesOfCopy(
  queue: string,
  { id, deliveryCount }: Pick<Received, 'id' | 'deliveryCount'>,
  { properties }: Message,
  changes: { readonly headers?: Headers | undefined; readonly own?: Table },
): Options.Publish {
  const { contentType, contentEncoding, priority, replyTo, timestamp, appId } = properties
  const { type, correlationId, headers }: MessageProperties | Description =
    changes.headers === undefined ? properties : describe(queue, changes.headers)
  const format: unknown = properties.headers?.[OWN_HEADER.format] ?? FORMAT
  const table = changes.headers === undefined ? withoutServers(headers, count(format) > FORMAT) : headers
  const own = {
    [OWN_HEADER.format]: format,
    ...(deliveryCount > 0 && { [OWN_HEADER.deliveries]: deliveryCount }),
    ...changes.own,
  }
  return {
    contentType,
    contentEncoding,
    priority,
    replyTo,
    timestamp,
    appId,
    ...(type !== undefined && { type }),
    ...(correlationId !== undefined && { correlationId }),
    headers: Object.assign(emptyTable(), table, own),
    messageId: id,
    persistent: true,
    mandatory: true,
  }
}

/** Reads a message of this queue as a job. */
export function receivedFrom(queue: string, { properties, fields }: Message): Received {
  const { messageId, priority, timestamp, contentType, contentEncoding } = properties
  const table: Table = properties.headers ?? {}
  // A quorum queue counts, as `x-acquired-count` from 4.0 on. A classic queue only has the flag.
  const isUncounted = fields.redelivered && !('x-delivery-count' in table) && !('x-acquired-count' in table)
  const counted = Math.max(count(table['x-delivery-count']), count(table['x-acquired-count']))
  const readyAt = Number(table[OWN_HEADER.readyAt] ?? 0)
  return {
    id: idOf(messageId),
    headers: headersOf(queue, properties),
    priority: typeof priority === 'number' ? Math.min(priority, HIGHEST_PRIORITY) : NORMAL_PRIORITY,
    deliveryCount: count(table[OWN_HEADER.deliveries]) + counted + (isUncounted ? 1 : 0),
    storedAtMs: typeof timestamp === 'number' ? timestamp * 1000 : undefined,
    undecodable: newerFormat(table) ?? undecodable(contentType, contentEncoding),
    isUncounted,
    readyAtMs: readyAt > 0 ? readyAt : undefined,
  }
}

/** A header of this adapter, as text. */
export function ownHeader({ properties }: Message, name: string): string | undefined {
  const value: unknown = properties.headers?.[name]
  return value === undefined ? undefined : textOf(value)
}

function describe(queue: string, headers: Headers): Description {
  let type = queue
  let correlationId: string | undefined
  let table: Record<string, string> | undefined
  for (const key in headers) {
    const value = headers[key]
    if (value === undefined) continue
    if (key === TASK_HEADER) type = value
    else if (key === CORRELATION_HEADER && Buffer.byteLength(value) <= SHORT_TEXT_BYTES) correlationId = value
    else (table ??= emptyTable())[isFree(key) ? key : OWN_HEADER.escaped + key] = value
  }
  return { type, correlationId, headers: table }
}

/** Whether a header can be sent under its own name. amqplib loses a `__proto__` when it reads. */
function isFree(key: string): boolean {
  return !key.startsWith(OWN) && key !== '__proto__' && !SERVERS.test(key)
}

function headersOf(queue: string, { headers: table, type, correlationId }: MessageProperties): Headers {
  const headers = emptyHeaders()
  for (const [key, value] of Object.entries(table ?? {})) {
    if (key.startsWith(OWN_HEADER.escaped)) headers[key.slice(OWN_HEADER.escaped.length)] = textOf(value)
    else if (!key.startsWith(OWN) && !SERVERS.test(key.toLowerCase())) headers[key.toLowerCase()] = textOf(value)
  }
  if (typeof type === 'string' && type !== queue) headers[TASK_HEADER] = type
  if (typeof correlationId === 'string') headers[CORRELATION_HEADER] = correlationId
  return headers
}

/** `keepsOwn`: a newer version wrote headers that this one does not know. */
function withoutServers(table: Table = {}, keepsOwn: boolean): Record<string, unknown> {
  const kept = emptyTable<unknown>()
  for (const [key, value] of Object.entries(table)) {
    const isOurs = !keepsOwn && key.startsWith(OWN) && !key.startsWith(OWN_HEADER.escaped)
    if (!isOurs && !SERVERS.test(key.toLowerCase())) kept[key] = value
  }
  return kept
}

/** Ids of other programs may be missing, too long, or not ASCII. Equal ids give equal results. */
function idOf(messageId: unknown): string {
  if (typeof messageId !== 'string' || messageId === '') return randomUUID()
  return /^[!-~]{1,63}$/.test(messageId) ? messageId : createHash('sha1').update(messageId).digest('hex')
}

function newerFormat(table: Table): string | undefined {
  const format = count(table[OWN_HEADER.format])
  if (format <= FORMAT) return undefined
  return `it has format ${format} of the RabbitMQ broker, and this version reads ${FORMAT}: upgrade, then requeue it`
}

function undecodable(contentType: unknown, contentEncoding: unknown): string | undefined {
  if (
    typeof contentType === 'string' &&
    !/^(?:$|(?:application|text)\/(?:json|.+\+json|plain|octet-stream)\s*(?:;|$))/i.test(contentType)
  ) {
    return `the content type is ${contentType}, not application/json`
  }
  if (typeof contentEncoding === 'string' && !/^(?:utf-?8|us-ascii|identity|binary|)$/i.test(contentEncoding)) {
    return `the content encoding is ${contentEncoding}, not utf-8`
  }
  return undefined
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (Buffer.isBuffer(value)) return value.toString()
  return JSON.stringify(value) ?? ''
}

function count(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

function emptyHeaders(): Record<string, string> {
  return Object.create(null)
}

function emptyTable<Value = string>(): Record<string, Value> {
  return Object.create(null)
}

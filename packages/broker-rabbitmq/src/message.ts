import { createHash, randomUUID } from 'node:crypto'
import type { Message, MessageProperties, Options } from 'amqplib'
import type { Headers } from '@zyqueue/core/broker'

/** Core's header for the task, which travels as the `type` of the message. */
const TASK_HEADER = 'zyq-task'
/** A header of that name travels as the property: replies are correlated by it. */
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

/** What only this adapter writes and reads; jobs do not see it. */
const OWN = 'zyq-amqp-'
export const OWN_HEADER = {
  /** How often owners were lost before this copy was published: what the broker counts begins anew with each copy. */
  deliveries: `${OWN}deliveries`,
  /** On a dead letter: why, and when, in ms since 1970. */
  reason: `${OWN}reason`,
  diedAt: `${OWN}died-at`,
  /** Followed by a level of the ladder of delays that the message has to pass. */
  delay: `${OWN}delay-`,
  /** The exchange that a delayed message goes to in the end, where it is not the default one. */
  exchange: `${OWN}exchange`,
  /** Followed by the name of a header that could not travel under its own. */
  escaped: `${OWN}header:`,
} as const

/** What RabbitMQ writes into headers by itself, or obeys. */
const SERVERS = /^(?:x-death|x-(?:first|last)-death-.*|x-delivery-count|x-acquired-count|x-opt-.*|cc|bcc)$/
const SHORT_TEXT_BYTES = 255

type Table = Readonly<Record<string, unknown>>

/** A message as it arrived, and what it means as a job. */
export interface Received {
  readonly id: string
  readonly headers: Headers
  readonly priority: number
  readonly deliveryCount: number
  readonly storedAtMs: number | undefined
  /** Why the body cannot be JSON, by what its sender said of it. */
  readonly undecodable: string | undefined
}

/** Core's, where a message of a stranger has none. */
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
    headers: table,
  }
  if (correlationId !== undefined) properties.correlationId = correlationId
  return properties
}

/** The properties of another copy: those that it came with, but for what RabbitMQ added, and what it would obey again. */
export function propertiesAgain(
  queue: string,
  { id, deliveryCount }: Pick<Received, 'id' | 'deliveryCount'>,
  { properties }: Message,
  changes: { readonly headers?: Headers | undefined; readonly own?: Table },
): Options.Publish {
  const { contentType, contentEncoding, priority, replyTo, timestamp, appId } = properties
  const { type, correlationId, headers }: MessageProperties | Description =
    changes.headers === undefined ? properties : describe(queue, changes.headers)
  const table = changes.headers === undefined ? withoutServers(headers) : headers
  const own = { ...(deliveryCount > 0 && { [OWN_HEADER.deliveries]: deliveryCount }), ...changes.own }
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

/** What a message means as a job of this queue. */
export function received(queue: string, { properties, fields }: Message): Received {
  const { messageId, priority, timestamp, contentType, contentEncoding } = properties
  const table: Table = properties.headers ?? {}
  return {
    id: idOf(messageId),
    headers: headersOf(queue, properties),
    priority: typeof priority === 'number' ? Math.min(priority, HIGHEST_PRIORITY) : NORMAL_PRIORITY,
    // A quorum queue counts for itself (`x-acquired-count` from 4.0 on); of a classic one, see `isUncounted`.
    deliveryCount:
      count(table[OWN_HEADER.deliveries]) +
      Math.max(count(table['x-delivery-count']), count(table['x-acquired-count'])) +
      (fields.redelivered && !('x-delivery-count' in table) && !('x-acquired-count' in table) ? 1 : 0),
    storedAtMs: typeof timestamp === 'number' ? timestamp * 1000 : undefined,
    undecodable: undecodable(contentType, contentEncoding),
  }
}

/** Whether it has had an owner before, and nothing on it but the flag says so: classic queues do not count. */
export function isUncounted({ fields, properties }: Message): boolean {
  const table: Table = properties.headers ?? {}
  return fields.redelivered && !('x-delivery-count' in table) && !('x-acquired-count' in table)
}

/** A header of our own, as text. */
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

/** Whether a header may travel under its own name. amqplib would lose a `__proto__` when it reads. */
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

function withoutServers(table: Table = {}): Record<string, unknown> {
  const kept = emptyTable<unknown>()
  for (const [key, value] of Object.entries(table)) {
    const isOurs = key.startsWith(OWN) && !key.startsWith(OWN_HEADER.escaped)
    if (!isOurs && !SERVERS.test(key.toLowerCase())) kept[key] = value
  }
  return kept
}

/** A stranger's id may be missing, or of a length or kind that ours are not; the same one always gives the same. */
function idOf(messageId: unknown): string {
  if (typeof messageId !== 'string' || messageId === '') return randomUUID()
  return /^[!-~]{1,63}$/.test(messageId) ? messageId : createHash('sha1').update(messageId).digest('hex')
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

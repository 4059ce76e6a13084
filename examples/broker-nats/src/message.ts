import { headers as natsHeaders, type Msg, type MsgHdrs } from '@nats-io/transport-node'
import type { Delivery, Headers } from '@zyqueue/core/broker'
import { z } from 'zod'

/** The parts of a job that JetStream has no field for. Stored as JSON in one header, because NATS headers have no line breaks. */
export interface Envelope {
  readonly id: string
  readonly headers: Headers
  readonly priority: number
  /** Lost deliveries of the earlier messages of this job: each release stores a new message. */
  readonly deliveries: number
  /** Of a dead letter. */
  readonly reason?: string | undefined
}

/** A message that the server delivered to a consumer. */
export interface DeliveredJob {
  readonly delivery: Delivery
  readonly message: Msg
  /** Counts the lost deliveries of this message too. */
  readonly envelope: Envelope
  /** The place of the message in its stream. */
  readonly sequence: number
  /** How many messages of the queue wait behind this one. */
  readonly pending: number
  /** When the server may deliver it to another consumer, on the clock of `performance.now`. */
  deadline: number
}

const HEADER = 'Zyqueue'
const NORMAL_PRIORITY = 4

const STORED = z.object({
  version: z.literal(1),
  id: z.string(),
  // Pairs, because zod removes a key `__proto__` from an object.
  headers: z.array(z.tuple([z.string(), z.string()])),
  priority: z.number(),
  deliveries: z.number(),
  reason: z.string().optional(),
})

export function toHeaders(envelope: Envelope): MsgHdrs {
  const stored: z.infer<typeof STORED> = { ...envelope, version: 1, headers: Object.entries(envelope.headers) }
  const result = natsHeaders()
  result.set(HEADER, JSON.stringify(stored))
  return result
}

/** A message of a stock client has no envelope, or one of another format: its job has no headers, and an id made from `sequence`. */
export function fromHeaders(message: MsgHdrs | undefined, sequence: number): Envelope {
  const { success, data } = STORED.safeParse(parse(message?.get(HEADER) ?? ''))
  if (success) {
    const { version: _, ...envelope } = data
    return { ...envelope, headers: headersOf(data.headers) }
  }
  const id = message?.get('Nats-Msg-Id') || `nats-${sequence}`
  return { id, headers: headersOf([]), priority: NORMAL_PRIORITY, deliveries: 0 }
}

/** Reads a delivered message, whose reply subject holds its figures. */
export function readJob(queue: string, message: Msg, deadline: number): DeliveredJob {
  // $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<timestamp>.<pending>; newer servers put
  // a domain and an account before the stream (ADR-15 of NATS).
  const tokens = replyOf(message).split('.')
  const [delivered = 1, sequence = 0, , timestamp = 0, pending = 0] = tokens
    .slice(tokens.length > 9 ? 6 : 4)
    .map(Number)
  const envelope = fromHeaders(message.headers, sequence)
  const { id, headers, priority } = envelope
  const deliveryCount = envelope.deliveries + delivered - 1
  const storedAtMs = Math.floor(timestamp / 1e6)
  const delivery = { id, queue, body: message.data.slice(), headers, priority, deliveryCount, storedAtMs }
  return { delivery, message, envelope: { ...envelope, deliveries: deliveryCount }, sequence, pending, deadline }
}

export function replyOf(message: Msg): string {
  return message.reply ?? ''
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function headersOf(pairs: readonly (readonly [name: string, text: string])[]): Headers {
  const headers: Record<string, string> = Object.create(null)
  for (const [name, text] of pairs) headers[name] = text
  return headers
}

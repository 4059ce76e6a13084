import { headers as natsHeaders, type MsgHdrs } from '@nats-io/transport-node'
import type { Headers } from '@zyqueue/core/broker'
import { z } from 'zod'

/** What of a job has no room of its own in JetStream. It is one header, in JSON, since those of NATS have no line breaks. */
export interface Envelope {
  readonly id: string
  readonly headers: Headers
  readonly priority: number
  /** Lost owners of the messages that this job was before it was released. */
  readonly deliveries: number
  readonly reason?: string | undefined
}

const HEADER = 'Zyqueue'
const NORMAL_PRIORITY = 4

const WRITTEN = z.object({
  id: z.string(),
  // In pairs: of an object zod would leave out a header `__proto__`.
  headers: z.array(z.tuple([z.string(), z.string()])),
  priority: z.number(),
  deliveries: z.number(),
  reason: z.string().optional(),
})

export function toHeaders(envelope: Envelope): MsgHdrs {
  const written: z.infer<typeof WRITTEN> = { ...envelope, headers: Object.entries(envelope.headers) }
  const result = natsHeaders()
  result.set(HEADER, JSON.stringify(written))
  return result
}

/** What a stock client has stored has no envelope, or a broken one: it is a job without headers, of an id made up. */
export function fromHeaders(message: MsgHdrs | undefined, sequence: number): Envelope {
  const { success, data } = WRITTEN.safeParse(parse(message?.get(HEADER) ?? ''))
  if (success) return { ...data, headers: headersOf(data.headers) }
  const id = message?.get('Nats-Msg-Id') || `nats-${sequence}`
  return { id, headers: headersOf([]), priority: NORMAL_PRIORITY, deliveries: 0 }
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

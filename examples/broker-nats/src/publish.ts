import { JetStreamApiError } from '@nats-io/jetstream'
import { errors } from '@nats-io/transport-node'
import { faultOf, refuseUnknownOptions, type OutboundMessage, type PublishResult } from '@zyqueue/core/broker'
import { noDelays } from './errors.ts'
import { jobSubject } from './names.ts'
import type { Session } from './session.ts'

/** The server's default limit for a message, 1 MiB, less room for the headers. */
export const MAX_BODY_BYTES: number = 1024 * 1024 - 64 * 1024

export async function publishMessage(session: Session, message: OutboundMessage): Promise<PublishResult> {
  const { queue, id, body, headers, priority } = message
  const fault = refusalOf(message)
  if (fault !== undefined) return { status: 'refused', error: fault }
  try {
    await session.store(jobSubject(queue), body, { id, headers, priority, deliveries: 0 }, id)
    return { status: 'stored' }
  } catch (error) {
    // The server answered that it did not store the message, or no stream has this subject.
    const refused = error instanceof JetStreamApiError || error instanceof errors.NoRespondersError
    return { status: refused ? 'refused' : 'unknown', error }
  }
}

function refusalOf(message: OutboundMessage): unknown {
  try {
    refuseUnknownOptions('NATS', message.options)
  } catch (error) {
    return error
  }
  if (message.delayMs > 0) return noDelays()
  return faultOf('NATS', message, MAX_BODY_BYTES)
}

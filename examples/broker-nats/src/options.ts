import type { ConnectionOptions } from '@nats-io/transport-node'
import { ConfigError } from '@zyqueue/core/broker'

export interface NatsTarget {
  readonly location: string
  readonly options: ConnectionOptions
  readonly ackWaitMs: number
}

const DEFAULT_ACK_WAIT_S = 60

/** Reads `nats://[USER:PASSWORD@]HOST[:PORT][?ackWait=SECONDS]`. Throws `ZYQ_CONNECTION_STRING`. */
export function readConnection(connection = 'nats://localhost:4222'): NatsTarget {
  const url = URL.canParse(connection) ? new URL(connection) : undefined
  const ackWait = Number(url?.searchParams.get('ackWait') ?? DEFAULT_ACK_WAIT_S)
  const known = [...(url?.searchParams.keys() ?? [])].every((name) => name === 'ackWait')
  const isNats = url?.protocol === 'nats:' && url.hostname !== '' && /^\/?$/.test(url.pathname)
  if (url === undefined || !isNats || !known || !(ackWait >= 1 && ackWait <= 3_600)) {
    throw new ConfigError(
      'ZYQ_CONNECTION_STRING',
      'The NATS broker reads nats://[USER:PASSWORD@]HOST[:PORT][?ackWait=SECONDS], with 1 to 3600 seconds',
    )
  }
  const location = `${url.hostname}:${url.port || 4222}`
  const login = url.username === '' ? {} : { user: decode(url.username), pass: decode(url.password) }
  return { location, options: { servers: location, ...login }, ackWaitMs: 1_000 * ackWait }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new ConfigError('ZYQ_CONNECTION_STRING', 'The user or password of the NATS broker is not percent-encoded')
  }
}

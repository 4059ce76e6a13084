import { JetStreamApiError } from '@nats-io/jetstream'
import { AuthorizationError, errors } from '@nats-io/transport-node'
import { BrokerError, ConfigError, type CodeOf } from '@zyqueue/core/broker'

/** `ErrCode` of the server's JetStream errors (server/errors.json of nats-server). */
export const API_ERRORS = { consumerNotFound: 10014, streamDiffers: 10058, noMessage: 10037 } as const

const API_CODES: Readonly<Record<number, CodeOf<'broker'>>> = {
  [API_ERRORS.consumerNotFound]: 'ZYQ_QUEUE_NOT_FOUND',
  [API_ERRORS.streamDiffers]: 'ZYQ_TOPOLOGY',
  10023: 'ZYQ_BROKER_FULL', // insufficient resources
  10047: 'ZYQ_BROKER_FULL', // insufficient storage
  10054: 'ZYQ_BODY_TOO_LARGE', // message size exceeds the stream's maximum
  10077: 'ZYQ_BROKER_FULL', // a limit of the stream
}

export function errorCode(error: unknown): CodeOf<'broker'> {
  try {
    if (error instanceof BrokerError) return error.code
    if (error instanceof JetStreamApiError) return API_CODES[error.code] ?? 'ZYQ_BROKER'
    if (error instanceof AuthorizationError || error instanceof errors.PermissionViolationError) return 'ZYQ_AUTH'
    if (error instanceof errors.ConnectionError) return 'ZYQ_UNREACHABLE'
    if (error instanceof errors.ClosedConnectionError || error instanceof errors.TimeoutError) {
      return 'ZYQ_CONNECTION_LOST'
    }
    // The client wraps what a request has met.
    if (error instanceof errors.RequestError && error.cause !== error) return errorCode(error.cause)
    // What the socket has met while it was connecting; the client passes most of it on as it is.
    if (error instanceof Error && 'syscall' in error) return 'ZYQ_UNREACHABLE'
    return 'ZYQ_BROKER'
  } catch {
    return 'ZYQ_BROKER' // a proxy may throw at any touch
  }
}

export function closed(): BrokerError {
  return new BrokerError('ZYQ_CLOSED', 'The NATS broker was closed')
}

export function connectionLost(): BrokerError {
  return new BrokerError('ZYQ_CONNECTION_LOST', 'The NATS broker is not connected')
}

export function refuseOptions(options: Readonly<Record<string, unknown>> = {}): void {
  const [name] = Object.keys(options)
  if (name !== undefined) throw new ConfigError('ZYQ_UNSUPPORTED', `The NATS broker has no option "${name}"`)
}

export function refuseDelay(delayMs: number): void {
  if (delayMs > 0) throw new ConfigError('ZYQ_UNSUPPORTED', 'The NATS broker has no delays')
}

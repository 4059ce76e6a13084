import { JetStreamApiError } from '@nats-io/jetstream'
import { AuthorizationError, errors } from '@nats-io/transport-node'
import { BrokerError, ConfigError, errorCodeFrom, type CodeOf } from '@zyqueue/core/broker'

/** `ErrCode` of the server's JetStream errors (server/errors.json of nats-server). */
const CONSUMER_NOT_FOUND = 10014
const STREAM_NOT_FOUND = 10059

const API_CODES: Readonly<Record<number, CodeOf<'broker'>>> = {
  [CONSUMER_NOT_FOUND]: 'ZYQ_QUEUE_NOT_FOUND',
  [STREAM_NOT_FOUND]: 'ZYQ_QUEUE_NOT_FOUND',
  10058: 'ZYQ_TOPOLOGY', // stream name already in use with a different configuration
  10023: 'ZYQ_BROKER_FULL', // insufficient resources
  10047: 'ZYQ_BROKER_FULL', // insufficient storage
  10054: 'ZYQ_BODY_TOO_LARGE', // message size exceeds the stream's maximum
  10077: 'ZYQ_BROKER_FULL', // a limit of the stream
}

export const errorCode: (error: unknown) => CodeOf<'broker'> = errorCodeFrom(classify)

function classify(error: unknown): CodeOf<'broker'> | undefined {
  if (error instanceof JetStreamApiError) return API_CODES[error.code]
  if (error instanceof AuthorizationError || error instanceof errors.PermissionViolationError) return 'ZYQ_AUTH'
  if (error instanceof errors.ConnectionError) return 'ZYQ_UNREACHABLE'
  if (error instanceof errors.ClosedConnectionError || error instanceof errors.TimeoutError) {
    return 'ZYQ_CONNECTION_LOST'
  }
  // The client wraps the error of a request.
  return error instanceof errors.RequestError && error.cause !== error ? errorCode(error.cause) : undefined
}

export function connectionLost(): BrokerError {
  return new BrokerError('ZYQ_CONNECTION_LOST', 'The NATS broker is not connected')
}

export function noDelays(): ConfigError {
  return new ConfigError('ZYQ_UNSUPPORTED', 'The NATS broker has no delays')
}

/** Resolves to `undefined` if the stream or the consumer does not exist. */
export async function unlessMissing<Value>(answer: Promise<Value>): Promise<Value | undefined> {
  try {
    return await answer
  } catch (error) {
    if (errorCode(error) === 'ZYQ_QUEUE_NOT_FOUND') return undefined
    throw error
  }
}

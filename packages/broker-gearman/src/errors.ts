import { BrokerError, errorCodeFrom, type CodeOf } from '@zyqueue/core/broker'

/** The server refused a request: the code and the text of its ERROR packet or `ERR` line. */
export class GearmanError extends Error {
  override readonly name = 'GearmanError'
  readonly code: string

  constructor(code: string, text: string) {
    super(`${code}: ${text}`)
    this.code = code
  }
}

const SERVER_CODES: ReadonlyMap<string, CodeOf<'broker'>> = new Map([
  ['JOB_QUEUE_FULL', 'ZYQ_BROKER_FULL'],
  ['MEMORY_ALLOCATION_FAILURE', 'ZYQ_BROKER_FULL'],
  // The limit of the queue is reached, or the persistent queue failed to write.
  ['QUEUE_ERROR', 'ZYQ_BROKER_FULL'],
  ['SHUTDOWN', 'ZYQ_BROKER_BUSY'],
])

export const errorCode: (error: unknown) => CodeOf<'broker'> = errorCodeFrom((error) =>
  error instanceof GearmanError ? (SERVER_CODES.get(error.code) ?? 'ZYQ_BROKER') : undefined,
)

export function closed(): BrokerError {
  return new BrokerError('ZYQ_CLOSED', 'The Gearman broker was closed')
}

export function connectionLost(location: string, cause?: unknown): BrokerError {
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new BrokerError('ZYQ_CONNECTION_LOST', `The connection to ${location} is lost${why}`, { cause })
}

export function unreachable(location: string, cause?: unknown): BrokerError {
  const why = cause instanceof Error ? `: ${messageOf(cause)}` : ''
  return new BrokerError('ZYQ_UNREACHABLE', `No Gearman server answers at ${location}${why}`, { cause })
}

/** Node tries every address of a name, and puts the errors into an `AggregateError` without a message. */
function messageOf(error: Error): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  return first instanceof Error ? first.message : String(first)
}

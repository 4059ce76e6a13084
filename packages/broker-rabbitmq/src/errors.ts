import { BrokerError, errorCodeFrom, propertyOf, type CodeOf } from '@zyqueue/core/broker'

/** Reply codes of AMQP 0-9-1 (its specification, 1.2, and RabbitMQ's errata). */
export const REPLY = {
  CONNECTION_FORCED: 320,
  INVALID_PATH: 402,
  ACCESS_REFUSED: 403,
  NOT_FOUND: 404,
  RESOURCE_LOCKED: 405,
  PRECONDITION_FAILED: 406,
  NOT_ALLOWED: 530,
} as const

const CODES: Readonly<Record<number, CodeOf<'broker'>>> = {
  311: 'ZYQ_BODY_TOO_LARGE',
  312: 'ZYQ_UNROUTABLE',
  [REPLY.CONNECTION_FORCED]: 'ZYQ_CONNECTION_LOST',
  [REPLY.INVALID_PATH]: 'ZYQ_AUTH',
  [REPLY.ACCESS_REFUSED]: 'ZYQ_AUTH',
  [REPLY.NOT_FOUND]: 'ZYQ_QUEUE_NOT_FOUND',
  [REPLY.RESOURCE_LOCKED]: 'ZYQ_BROKER_BUSY',
  [REPLY.PRECONDITION_FAILED]: 'ZYQ_TOPOLOGY',
  [REPLY.NOT_ALLOWED]: 'ZYQ_AUTH',
}

/** The code of an error of this package, of amqplib or of a socket. Never throws. */
export const errorCode: (error: unknown) => CodeOf<'broker'> = errorCodeFrom(
  (error) => {
    const known = CODES[replyCode(error) ?? 0]
    // amqplib's error for a channel that ended with its connection.
    return known ?? (propertyOf(error, 'name') === 'IllegalOperationError' ? 'ZYQ_CONNECTION_LOST' : undefined)
  },
  { ABORT_ERR: 'ZYQ_CONNECTION_LOST' },
)

/** The reply code with which the server closed a channel or connection. */
export function replyCode(error: unknown): number | undefined {
  const code = propertyOf(error, 'code')
  return typeof code === 'number' ? code : undefined
}

/**
 * The reason why the server refused this message when it closed the channel with `failure`. Undefined if it may have refused
 * another message of the channel and stored this one. `isAlone`: no other message was sent on the channel. `isUnread`: the server has
 * not stored the message if it refuses the exchange of the channel.
 */
export function refusalOf(
  failure: unknown,
  { exchange, routingKey, body }: { readonly exchange: string; readonly routingKey: string; readonly body: Uint8Array },
  { isAlone, isUnread }: { readonly isAlone: boolean; readonly isUnread: boolean },
): unknown {
  const text = messageOf(failure)
  switch (replyCode(failure)) {
    case REPLY.NOT_FOUND:
      if (!isUnread) return undefined
      return new BrokerError('ZYQ_UNROUTABLE', `RabbitMQ has no exchange "${exchange}"`, { cause: failure })
    case REPLY.ACCESS_REFUSED: {
      // A topic is refused by its routing key, and an exchange to all messages of its channel.
      const topic = /access to topic '(?<topic>.*)' in exchange/s.exec(text)?.groups?.['topic']
      if (topic === undefined) return isUnread ? failure : undefined
      return isAlone || topic === routingKey ? failure : undefined
    }
    case REPLY.PRECONDITION_FAILED: {
      const most = /larger than configured max size (?<most>\d+)/.exec(text)?.groups?.['most']
      if (most !== undefined && body.length > Number(most)) return tooLarge(body.length, failure)
      return isAlone ? failure : undefined
    }
    default:
      return undefined
  }
}

function tooLarge(bytes: number, cause?: unknown): BrokerError {
  const text = `The job has ${bytes} bytes, more than RabbitMQ accepts. Send less, or raise max_message_size in rabbitmq.conf`
  return new BrokerError('ZYQ_BODY_TOO_LARGE', text, { cause })
}

/** The error of a connection that could not be opened. amqplib has no code for a failed handshake. */
export function openingError(error: unknown, where: string): BrokerError {
  const message = messageOf(error)
  const server = `The RabbitMQ server at ${where}`
  if (/Handshake terminated by server: (?:402|403|530)/.test(message)) {
    return new BrokerError('ZYQ_AUTH', `${server} refused the connection: ${message}`, { cause: error })
  }
  if (/got <ConnectionClose/.test(message)) {
    const text = `${server} refused the virtual host: it does not exist, or this user has no access to it`
    return new BrokerError('ZYQ_AUTH', text, { cause: error })
  }
  return new BrokerError('ZYQ_UNREACHABLE', `${server} cannot be reached: ${message}`, { cause: error })
}

export function connectionLost(why: string, cause?: unknown): BrokerError {
  return new BrokerError('ZYQ_CONNECTION_LOST', why, { cause })
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

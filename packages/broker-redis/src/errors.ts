import { BrokerError, errorCodeFrom, propertyOf, type CodeOf } from '@zyqueue/core/broker'

type Code = CodeOf<'broker'>

/** Codes by the first word of an error reply (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors). */
const CODES_BY_REPLY: Readonly<Record<string, Code>> = {
  OOM: 'ZYQ_BROKER_FULL',
  MISCONF: 'ZYQ_BROKER_FULL',
  NOAUTH: 'ZYQ_AUTH',
  WRONGPASS: 'ZYQ_AUTH',
  NOPERM: 'ZYQ_AUTH',
  WRONGTYPE: 'ZYQ_STORAGE_FOREIGN',
  BUSY: 'ZYQ_BROKER_BUSY',
  NOREPLICAS: 'ZYQ_BROKER_BUSY',
  LOADING: 'ZYQ_UNREACHABLE',
  MASTERDOWN: 'ZYQ_UNREACHABLE',
  CLUSTERDOWN: 'ZYQ_UNREACHABLE',
  // While a slot moves, its keys are on two nodes, and a script with several keys cannot run.
  TRYAGAIN: 'ZYQ_UNREACHABLE',
  ASK: 'ZYQ_UNREACHABLE',
  // The server is a former master. Core then calls `connect`, which finds the new one.
  READONLY: 'ZYQ_CONNECTION_LOST',
  MOVED: 'ZYQ_CONNECTION_LOST',
}

/** Redis 6.2 puts the error of a script's command behind one of its own, so the word need not be the first. */
const REPLY_WORD = new RegExp(`\\b(${Object.keys(CODES_BY_REPLY).join('|')})\\b`)

/** Refusals that do not begin with such a word. Redis 7 uses the last one if the user may not run a command in a script. */
const NOT_ALLOWED = /invalid username-password|invalid password|without any password|The user executing the script/

/** System errors during the connection setup. */
const SYSTEM_CODES: Readonly<Record<string, Code>> = {
  ECONNRESET: 'ZYQ_UNREACHABLE',
  ECONNABORTED: 'ZYQ_UNREACHABLE',
  EPIPE: 'ZYQ_UNREACHABLE',
  ENOENT: 'ZYQ_UNREACHABLE',
}

/** The server replied with an error, so it did not run the command. */
export class ServerError extends Error {
  override readonly name = 'ServerError'
  readonly code: Code

  constructor(message: string) {
    super(message)
    const word = REPLY_WORD.exec(message)?.[1] ?? ''
    this.code = NOT_ALLOWED.test(message) ? 'ZYQ_AUTH' : (CODES_BY_REPLY[word] ?? 'ZYQ_BROKER')
  }
}

/** The connection was lost or closed while a command was pending. It is unknown whether the server ran the command. */
export class ConnectionLostError extends Error {
  override readonly name = 'ConnectionLostError'
}

/** The code of an error of this broker. Never throws. */
export const errorCode: (error: unknown) => Code = errorCodeFrom((error) => {
  if (error instanceof ServerError) return error.code
  if (error instanceof ConnectionLostError) return 'ZYQ_CONNECTION_LOST'
  return /CERT|TLS|SSL/.test(String(propertyOf(error, 'code'))) ? 'ZYQ_UNREACHABLE' : undefined
}, SYSTEM_CODES)

/** True if the command did not run and can succeed later, on this server or on another one. */
export function isRetryable(error: unknown): boolean {
  if (error instanceof ConnectionLostError) return false
  return RETRYABLE.has(errorCode(error))
}

const RETRYABLE: ReadonlySet<Code> = new Set(['ZYQ_CONNECTION_LOST', 'ZYQ_UNREACHABLE', 'ZYQ_BROKER_BUSY'])

export function closedError(): BrokerError {
  return new BrokerError('ZYQ_CLOSED', 'The Redis broker was closed')
}

export function notConnectedError(): BrokerError {
  return new BrokerError('ZYQ_CONNECTION_LOST', 'There is no connection to Redis')
}

export function leaseLostError(consumerId: string): BrokerError {
  return new BrokerError('ZYQ_LEASE_LOST', `The lease of the consumer ${consumerId} has ended`)
}

import { BrokerError, type CodeOf } from '@zyqueue/core/broker'
import { ProtocolError } from './connection/protocol.ts'

/** What the server answered instead of doing as it was asked: the code and the text of its ERROR packet. */
export class GearmanError extends Error {
  override readonly name = 'GearmanError'
  readonly code: string

  constructor(code: string, text: string) {
    super(`${code}: ${text}`)
    this.code = code
  }
}

const NATIVE_CODES: Readonly<Record<string, CodeOf<'broker'>>> = {
  JOB_QUEUE_FULL: 'ZYQ_BROKER_FULL',
  MEMORY_ALLOCATION_FAILURE: 'ZYQ_BROKER_FULL',
  // Its limit is reached, or its persistent queue could not write.
  QUEUE_ERROR: 'ZYQ_BROKER_FULL',
  SHUTDOWN: 'ZYQ_BROKER_BUSY',
}

/** Of the sockets. */
const SYSTEM_CODES: Readonly<Record<string, CodeOf<'broker'>>> = {
  ECONNREFUSED: 'ZYQ_UNREACHABLE',
  ENOTFOUND: 'ZYQ_UNREACHABLE',
  EAI_AGAIN: 'ZYQ_UNREACHABLE',
  EHOSTUNREACH: 'ZYQ_UNREACHABLE',
  ENETUNREACH: 'ZYQ_UNREACHABLE',
  EADDRNOTAVAIL: 'ZYQ_UNREACHABLE',
  EMFILE: 'ZYQ_UNREACHABLE',
  ENFILE: 'ZYQ_UNREACHABLE',
  ETIMEDOUT: 'ZYQ_UNREACHABLE',
  EACCES: 'ZYQ_AUTH',
  EPERM: 'ZYQ_AUTH',
  ECONNRESET: 'ZYQ_CONNECTION_LOST',
  EPIPE: 'ZYQ_CONNECTION_LOST',
}

/** The code of any error that this broker rejects with: its own, the server's or the socket's. Never throws. */
export function errorCode(error: unknown): CodeOf<'broker'> {
  try {
    return codeOf(error)
  } catch {
    return 'ZYQ_BROKER'
  }
}

function codeOf(error: unknown): CodeOf<'broker'> {
  if (error instanceof BrokerError) return error.code
  if (error instanceof GearmanError) return NATIVE_CODES[error.code] ?? 'ZYQ_BROKER'
  if (error instanceof ProtocolError) return 'ZYQ_BROKER'
  if (error instanceof AggregateError) return codeOf(error.errors[0])
  const code = typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : undefined
  return (typeof code === 'string' ? SYSTEM_CODES[code] : undefined) ?? 'ZYQ_BROKER'
}

export function closed(): BrokerError {
  return new BrokerError('ZYQ_CLOSED', 'This Gearman broker was closed')
}

/** Why a connection that was open is so no more. */
export function connectionLost(where: string, cause?: unknown): BrokerError {
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new BrokerError('ZYQ_CONNECTION_LOST', `The connection to ${where} is lost${why}`, { cause })
}

export function unreachable(where: string, cause?: unknown): BrokerError {
  const why = cause instanceof Error ? `: ${messageOf(cause)}` : ''
  return new BrokerError('ZYQ_UNREACHABLE', `No Gearman server answers at ${where}${why}`, { cause })
}

/** Node tries every address of a name, and tells of all in an `AggregateError` without a message. */
function messageOf(error: Error): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  return first instanceof Error ? first.message : String(first)
}

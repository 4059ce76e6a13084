/** Sends the error because of which a worker process cannot run to the supervisor, which logs it once for all processes. */
import { ERROR_CODES, type CodeOf, type ErrorCode, type ErrorKind } from '../error-codes.ts'
import { BrokerError, CodecError, ConfigError, isError, JobError, messageOf, ZyQueueError } from '../errors.ts'
import { property } from '../property.ts'
import type { ToSupervisor } from './ipc.ts'

export type FatalMessage = Extract<ToSupervisor, { type: 'fatal' }>

export function fatalMessage(error: unknown): FatalMessage {
  const cause = error instanceof ZyQueueError ? error.cause : error
  const detail = isError(cause) ? property(cause, 'stack') : undefined
  return {
    type: 'fatal',
    code: error instanceof ZyQueueError ? error.code : 'ZYQ_WORKER_START',
    message: messageOf(error),
    ...(typeof detail === 'string' ? { detail } : {}),
  }
}

/** Restores the error with the stack of its cause. */
export function fatalError({ code, message, detail }: FatalMessage): ZyQueueError {
  const options: ErrorOptions = detail === undefined ? {} : { cause: causeOf(detail) }
  if (isCode(code)) {
    if (isKind(code, 'config')) return new ConfigError(code, message, options)
    if (isKind(code, 'broker')) return new BrokerError(code, message, options)
    if (isKind(code, 'codec')) return new CodecError(code, message, options)
  }
  return new JobError('ZYQ_WORKER_START', message, options)
}

function causeOf(stack: string): Error {
  const cause = new Error(stack.split('\n', 1)[0])
  cause.stack = stack
  return cause
}

function isCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code)
}

function isKind<Kind extends ErrorKind>(code: ErrorCode, kind: Kind): code is Extract<ErrorCode, CodeOf<Kind>> {
  return ERROR_CODES[code].kind === kind
}

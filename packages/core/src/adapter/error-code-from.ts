import type { CodeOf } from '../error-codes.ts'
import { BrokerError } from '../errors.ts'

type Code = CodeOf<'broker'>

/** Codes of Node's sockets and of its DNS resolver. */
const SYSTEM_CODES: Readonly<Record<string, Code>> = {
  ECONNREFUSED: 'ZYQ_UNREACHABLE',
  EHOSTDOWN: 'ZYQ_UNREACHABLE',
  EHOSTUNREACH: 'ZYQ_UNREACHABLE',
  ENETDOWN: 'ZYQ_UNREACHABLE',
  ENETUNREACH: 'ZYQ_UNREACHABLE',
  ENOTFOUND: 'ZYQ_UNREACHABLE',
  EAI_AGAIN: 'ZYQ_UNREACHABLE',
  EADDRNOTAVAIL: 'ZYQ_UNREACHABLE',
  ETIMEDOUT: 'ZYQ_UNREACHABLE',
  EMFILE: 'ZYQ_UNREACHABLE',
  ENFILE: 'ZYQ_UNREACHABLE',
  EACCES: 'ZYQ_AUTH',
  EPERM: 'ZYQ_AUTH',
  ECONNRESET: 'ZYQ_CONNECTION_LOST',
  ECONNABORTED: 'ZYQ_CONNECTION_LOST',
  EPIPE: 'ZYQ_CONNECTION_LOST',
}

/** Makes `Broker.errorCode`. `classify` returns `undefined` for unknown errors. `systemCodes` replace those of Node's errors. */
export function errorCodeFrom(
  classify: (error: unknown) => Code | undefined,
  systemCodes: Readonly<Record<string, Code>> = {},
): (error: unknown) => Code {
  const codes = new Map(Object.entries({ ...SYSTEM_CODES, ...systemCodes }))
  const codeOf = (error: unknown): Code => {
    if (error instanceof BrokerError) return error.code
    const own = classify(error)
    if (own !== undefined) return own
    // Node tries every address of a host and reports one error for each.
    if (error instanceof AggregateError) return codeOf(error.errors[0])
    return codes.get(String(propertyOf(error, 'code'))) ?? 'ZYQ_BROKER'
  }
  return (error) => {
    try {
      return codeOf(error)
    } catch {
      // A proxy can throw at any access.
      return 'ZYQ_BROKER'
    }
  }
}

export function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

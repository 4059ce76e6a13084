/** Says why a connection could not be opened, and what to do about it. */
import { BrokerError, propertyOf, ZyQueueError } from '@zyqueue/core/broker'
import { errorCode, ServerError } from '../errors.ts'
import type { Address } from '../options.ts'

/** How far an attempt to connect came. */
export interface Attempt {
  readonly address: Address
  readonly username: string | undefined
  readonly password: string | undefined
  readonly isTls: boolean
  /** `secure`: the TLS handshake is over. */
  readonly reached: 'nothing' | 'port' | 'secure'
  /** The first bytes from the server, after TLS. */
  readonly received: Buffer | undefined
  /** True if the time limit ended the attempt. */
  readonly isTimeout: boolean
}

/** The beginnings of what servers of other kinds send. */
const OTHER_SERVERS: readonly (readonly [pattern: RegExp, kind: string])[] = [
  [/^HTTP\/\d/, 'an HTTP server'],
  [/^ERROR\r\n/, 'a memcached server'],
  [/^(?:ERR [A-Za-z_]+ |\0RES)/, 'a Gearman server'],
  [/^AMQP/, 'an AMQP server, such as RabbitMQ'],
  [/^INFO \{/, 'a NATS server'],
  [/^SSH-/, 'an SSH server'],
]
/** The first bytes of replies in RESP. */
const RESP = /^[-+:$*%_#,(!=~>|]/
const MAX_QUOTED = 40

const UNTRUSTED =
  'Give the file of its certificate authority as ?ca=FILE in the connection string, or in NODE_EXTRA_CA_CERTS.'
const CERTIFICATE_REMEDIES: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  CERT_UNTRUSTED: UNTRUSTED,
  CERT_HAS_EXPIRED: 'Renew the certificate of the server.',
  CERT_NOT_YET_VALID: 'Compare the clocks of both hosts.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'Connect with a host name that is in the certificate.',
}

/** The error of a failed attempt, with words and a code that fit. Errors of ZyQueue stay as they are. */
export function connectError(error: Error, attempt: Attempt): Error {
  if (error instanceof ZyQueueError) return error
  const { address, isTls, reached } = attempt
  const where = `${address.host}:${address.port}`
  if (error instanceof ServerError) return refusal(error, where, attempt.username)
  const unreachable = (message: string): BrokerError => new BrokerError('ZYQ_UNREACHABLE', message, { cause: error })
  const other = describeOther(attempt)
  if (other !== undefined)
    return unreachable(`The server at ${where} is not Redis: ${other}. Correct the host or port.`)
  const code = String(propertyOf(error, 'code'))
  const remedy = CERTIFICATE_REMEDIES[code]
  if (remedy !== undefined) {
    return unreachable(`The certificate of the server at ${where} was refused: ${error.message}. ${remedy}`)
  }
  if (/ALERT_(?:CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE)/.test(code)) {
    const text = `The server at ${where} ended the TLS handshake (${code}). If it asks for a client certificate, set tls-auth-clients no: ZyQueue has none.`
    return unreachable(text)
  }
  if (isTls && reached === 'port') {
    const what = attempt.isTimeout ? 'does not answer' : `ended (${reasonOf(error)})`
    const text = `The server at ${where} ${what} the TLS handshake. If it expects no TLS on this port, use redis:// without tls and ca.`
    return unreachable(text)
  }
  if (reached === 'nothing') {
    if (attempt.isTimeout) return unreachable(`Redis at ${where} does not answer. A firewall may drop the packets.`)
    return new BrokerError(errorCode(error), `Cannot connect to Redis at ${where}: ${reasonOf(error)}`, {
      cause: error,
    })
  }
  if (attempt.received !== undefined) return error
  const what = attempt.isTimeout
    ? 'accepts connections, but does not answer'
    : 'closed the connection without an answer'
  const advice = isTls ? '' : ' If it expects TLS, begin the connection string with rediss://, or add ?tls=true.'
  return unreachable(`The server at ${where} ${what}.${advice}`)
}

/** The server refused a command of the connection setup. */
function refusal(error: ServerError, where: string, username: string | undefined): Error {
  const { message } = error
  if (/max number of clients/.test(message)) {
    const text = `Redis at ${where} has no free connection: maxclients is reached. Close connections that are not needed, or raise maxclients.`
    return new BrokerError('ZYQ_BROKER_BUSY', text, { cause: error })
  }
  if (/unknown command\W*hello/i.test(message)) {
    const text = `The server at ${where} does not know HELLO. Use Redis 6.2 or later. A proxy in front of it must pass on HELLO and RESP3.`
    return new BrokerError('ZYQ_BROKER', text, { cause: error })
  }
  if (message.startsWith('DENIED')) {
    const text = `Redis at ${where} is in protected mode: without a password it accepts only connections from its own host. Set requirepass or users on the server.`
    return new BrokerError('ZYQ_AUTH', text, { cause: error })
  }
  if (message.startsWith('NOAUTH')) {
    const text = `Redis at ${where} requires a password, and the connection string has none. Write it in front of the host, between a colon and an @.`
    return new BrokerError('ZYQ_AUTH', text, { cause: error })
  }
  if (error.code === 'ZYQ_AUTH' && /WRONGPASS|password/.test(message)) {
    const text = `Redis at ${where} refused the user ${username ?? 'default'} or the password: ${message} If the password contains a %, write %25 in the connection string.`
    return new BrokerError('ZYQ_AUTH', text, { cause: error })
  }
  return error
}

/** What a server that is not Redis is, by what it sent. Undefined if it sent nothing, or a reply of Redis. */
function describeOther({ received, password }: Attempt): string | undefined {
  if (received === undefined) return undefined
  const start = received.toString('latin1', 0, MAX_QUOTED)
  const kind = isTlsRecord(received) ? 'a TLS server' : OTHER_SERVERS.find(([pattern]) => pattern.test(start))?.[1]
  if (kind !== undefined) return `it answers like ${kind}`
  if (RESP.test(start)) return undefined
  // Some servers repeat what they do not understand.
  if (password !== undefined && password !== '' && received.includes(password)) return 'it repeats what it gets'
  return `it sent ${JSON.stringify(start.replaceAll(/[^\x20-\x7e]+/g, ' ').trim())}`
}

/** An alert or a handshake, and the major version that all versions of TLS have there. */
function isTlsRecord([type, major]: Buffer): boolean {
  return (type === 0x15 || type === 0x16) && major === 3
}

/** Node reports one error for each address of a host, and then has no message. OpenSSL's messages have lines of its sources. */
function reasonOf(error: Error): string {
  const code = propertyOf(error, 'code')
  if (typeof code !== 'string') return error.message
  return error.message === '' || error.message.includes('\n') ? code : error.message
}

import { ConfigError } from '@zyqueue/core/broker'
import { z } from 'zod'
import type { QueueType } from './options.ts'

interface Host {
  readonly hostname: string
  readonly port: number
}

/** What a connection string says. Holds the password: never log it, or put it into an error. */
export interface Address {
  readonly tls: boolean
  /** Tried in turn. */
  readonly hosts: readonly [Host, ...Host[]]
  readonly username: string
  readonly password: string
  readonly vhost: string
  /** Of queues that do not choose for themselves. */
  readonly queueType: QueueType
  /** Seconds; the server's own value is used where it is lower. */
  readonly heartbeat: number
  /** For each host. */
  readonly connectTimeoutMs: number
  /** Base URL of the management API; `off` to leave it alone; absent to look at its usual port. */
  readonly management: string | undefined
}

const FORM =
  'amqp[s]://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/VHOST][?queueType=quorum|classic&heartbeat=SECONDS&connectTimeoutMs=MS&management=URL|off]'

/** Twice this without a byte, and the server takes a connection for dead: a handler may block its process for two minutes. */
const HEARTBEAT_S = 120
const CONNECT_TIMEOUT_MS = 5_000

const parameters = z.strictObject({
  queueType: z.enum(['quorum', 'classic']).default('quorum'),
  heartbeat: z.coerce.number().int().min(1).max(3600).default(HEARTBEAT_S),
  connectTimeoutMs: z.coerce.number().int().min(1).max(60_000).default(CONNECT_TIMEOUT_MS),
  management: z.union([z.literal('off'), z.url({ protocol: /^https?$/ })]).optional(),
})

/** Reads a connection string; does no I/O. Throws `ZYQ_CONNECTION_STRING`, without the string, which holds the password. */
export function parseAddress(connection = 'amqp://localhost'): Address {
  // Not `URL`: it takes one host only.
  const parts =
    /^(?<scheme>amqps?):\/\/(?:(?<user>[^:@/?#]*)(?::(?<password>[^/?#]*))?@)?(?<hosts>[^/?#@]*)(?:\/(?<vhost>[^/?#]*))?(?:\?(?<query>[^#]*))?$/i.exec(
      connection,
    )?.groups
  if (parts === undefined) throw malformed('it is not of this form')
  const tls = parts['scheme']?.toLowerCase() === 'amqps'
  const [first, ...others] = (parts['hosts'] || 'localhost').split(',').map((host) => parseHost(host, tls))
  if (first === undefined) throw malformed('it names no host')
  const query = parameters.safeParse(Object.fromEntries(new URLSearchParams(parts['query'] ?? '')))
  if (!query.success) {
    const names = query.error.issues.flatMap((issue) => ('keys' in issue ? issue.keys : issue.path.map(String)))
    throw malformed(`it has no such parameter, or not with this value: ${names.join(', ')}`)
  }
  const { management, ...rest } = query.data
  const anonymous = parts['user'] === undefined
  return {
    ...rest,
    management,
    tls,
    hosts: [first, ...others],
    username: anonymous ? 'guest' : decode(parts['user']),
    password: anonymous ? 'guest' : decode(parts['password']),
    // By the letter of the scheme `amqp://host/` is the virtual host of no name; nobody means that.
    vhost: decode(parts['vhost']) || '/',
  }
}

/** For people: hosts and virtual host, without credentials. */
export function locationOf({ hosts, vhost }: Address): string {
  const places = hosts.map(({ hostname, port }) => `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`)
  return `${places.join(',')}${vhost === '/' ? '' : `/${vhost}`}`
}

function parseHost(text: string, tls: boolean): Host {
  const match = /^(?:\[(?<v6>[\da-f:.]+)\]|(?<name>[^\s:[\]\p{Cc}]+))(?::(?<port>\d{1,5}))?$/iu.exec(text)?.groups
  const port = Number(match?.['port'] ?? (tls ? 5671 : 5672))
  if (match === undefined || port > 65_535 || port === 0) throw malformed('a host or port of it is none')
  return { hostname: match['v6'] ?? match['name'] ?? '', port }
}

function decode(text = ''): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw malformed('a % in it begins no escape')
  }
}

function malformed(why: string): ConfigError {
  return new ConfigError(
    'ZYQ_CONNECTION_STRING',
    `The RabbitMQ broker cannot read the connection string: ${why}: ${FORM}`,
  )
}

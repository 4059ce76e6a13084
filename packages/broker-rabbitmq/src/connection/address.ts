import { ConfigError } from '@zyqueue/core/broker'
import { z } from 'zod'
import type { QueueType } from '../options.ts'

interface Host {
  readonly hostname: string
  readonly port: number
}

/** A parsed connection string. It holds the password and must not appear in a log or an error. */
export interface Address {
  readonly tls: boolean
  /** Tried in turn. */
  readonly hosts: readonly [Host, ...Host[]]
  readonly username: string
  readonly password: string
  readonly vhost: string
  /** Of queues without a `queueType` option. */
  readonly queueType: QueueType
  /** In seconds. The server's value is used if it is lower. */
  readonly heartbeat: number
  /** For each host. */
  readonly connectTimeoutMs: number
  /** Base URL of the management API. `off`: it is not used. Absent: its default port. */
  readonly management: string | undefined
}

const FORM =
  'amqp[s]://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/VHOST][?queueType=quorum|classic&heartbeat=SECONDS&connectTimeoutMs=MS&management=URL|off]'

/** The server ends a connection that sends nothing for twice this time, for instance because a handler blocks its process. */
const HEARTBEAT_S = 120
const CONNECT_TIMEOUT_MS = 5_000

const parameters = z.strictObject({
  queueType: z.enum(['quorum', 'classic']).default('quorum'),
  heartbeat: z.coerce.number().int().min(1).max(3600).default(HEARTBEAT_S),
  connectTimeoutMs: z.coerce.number().int().min(1).max(60_000).default(CONNECT_TIMEOUT_MS),
  management: z.union([z.literal('off'), z.url({ protocol: /^https?$/ })]).optional(),
})

/** Throws `ZYQ_CONNECTION_STRING` without the string, which holds the password. */
export function parseAddress(connection = 'amqp://localhost'): Address {
  // `URL` accepts one host only.
  const parts =
    /^(?<scheme>amqps?):\/\/(?:(?<user>[^:@/?#]*)(?::(?<password>[^/?#]*))?@)?(?<hosts>[^/?#@]*)(?:\/(?<vhost>[^/?#]*))?(?:\?(?<query>[^#]*))?$/i.exec(
      connection,
    )?.groups
  if (parts === undefined) throw malformed('it does not have this form')
  const tls = parts['scheme']?.toLowerCase() === 'amqps'
  const [first, ...others] = (parts['hosts'] || 'localhost').split(',').map((host) => parseHost(host, tls))
  if (first === undefined) throw malformed('it names no host')
  const query = parameters.safeParse(Object.fromEntries(new URLSearchParams(parts['query'] ?? '')))
  if (!query.success) {
    const names = query.error.issues.flatMap((issue) => ('keys' in issue ? issue.keys : issue.path.map(String)))
    throw malformed(`unknown parameter or value: ${names.join(', ')}`)
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
    // The scheme defines `amqp://host/` as the virtual host with the empty name. `/` is meant.
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
  if (match === undefined || port > 65_535 || port === 0) throw malformed('a host or port is invalid')
  return { hostname: match['v6'] ?? match['name'] ?? '', port }
}

function decode(text = ''): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw malformed('a % does not begin an escape')
  }
}

function malformed(why: string): ConfigError {
  return new ConfigError(
    'ZYQ_CONNECTION_STRING',
    `The RabbitMQ broker cannot read the connection string: ${why}: ${FORM}`,
  )
}

import { resolve } from 'node:path'
import { ConfigError, type ConnectOptions } from '@zyqueue/core/broker'

export interface Address {
  readonly host: string
  readonly port: number
}

/** The parts of a connection string. Contains secrets. */
export interface Deployment {
  readonly kind: 'server' | 'sentinel' | 'cluster'
  /** The server, the sentinels, or some nodes of the cluster. */
  readonly hosts: readonly [Address, ...Address[]]
  /** The master's name in the configuration of the sentinels. */
  readonly master: string | undefined
  readonly username: string | undefined
  readonly password: string | undefined
  readonly sentinelUsername: string | undefined
  readonly sentinelPassword: string | undefined
  readonly database: number
  readonly tls: boolean
  /** The absolute path of a file with trusted certificates. */
  readonly ca: string | undefined
  readonly prefix: string
}

const FORMS =
  'redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE] | rediss://… | redis+sentinel://HOST[:PORT],…/MASTER[/DATABASE] | redis+cluster://HOST[:PORT],…'

const SCHEMES: Readonly<Record<string, { readonly kind: Deployment['kind']; readonly port: number }>> = {
  redis: { kind: 'server', port: 6379 },
  rediss: { kind: 'server', port: 6379 },
  'redis+sentinel': { kind: 'sentinel', port: 26_379 },
  'redis+cluster': { kind: 'cluster', port: 6379 },
}

const PARAMETERS = ['prefix', 'tls', 'ca', 'sentinelUsername', 'sentinelPassword']

/** Parses a connection string; does no I/O. Throws `ZYQ_CONNECTION_STRING` with a message that contains no part of the string. */
export function parseDeployment({ connection = 'redis://localhost', baseDir }: ConnectOptions): Deployment {
  // Splits at the last @ first, so that the time is linear in the length.
  const [, scheme = '', login, place = ''] = /^([a-z+]+):\/\/(?:(.*)@)?([^@]*)$/is.exec(connection) ?? []
  const parts = /^([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(place)
  const [, hosts = '', path = '', query = ''] = parts ?? []
  const known = Object.hasOwn(SCHEMES, scheme.toLowerCase()) ? SCHEMES[scheme.toLowerCase()] : undefined
  if (parts === null || known === undefined)
    throw connectionStringError(`Cannot parse the connection string. The Redis broker expects ${FORMS}`)
  const parameters = parseParameters(query)
  const [username, password] = parseLogin(login)
  const ca = parameters.get('ca')
  return {
    kind: known.kind,
    hosts: parseHosts(hosts, known.port, known.kind !== 'server'),
    ...parsePath(known.kind, path),
    username,
    password,
    sentinelUsername: parameters.get('sentinelUsername'),
    sentinelPassword: parameters.get('sentinelPassword'),
    tls: scheme.toLowerCase() === 'rediss' || parseSwitch(parameters.get('tls')) || ca !== undefined,
    ca: ca === undefined ? undefined : resolve(baseDir, ca),
    prefix: parsePrefix(parameters.get('prefix')),
  }
}

/** A description for logs and error messages: hosts and ports without secrets. */
export function locationOf({ kind, hosts, master, database, tls }: Deployment): string {
  const scheme = kind === 'server' ? '' : `${kind} `
  const name = master === undefined ? '' : `${master} at `
  const list = hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',')
  return `${scheme}${name}${list}${database === 0 ? '' : `/${database}`}${tls ? ' (TLS)' : ''}`
}

function parseHosts(list: string, defaultPort: number, several: boolean): readonly [Address, ...Address[]] {
  const [first, ...others] = list.split(',').map((entry) => parseHost(entry, defaultPort))
  if (first === undefined || (others.length > 0 && !several)) {
    throw connectionStringError('Only redis+sentinel:// and redis+cluster:// can have several hosts')
  }
  return [first, ...others]
}

function parseHost(entry: string, defaultPort: number): Address {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^\s:[\]\0]*))(?::(\d{1,5}))?$/i.exec(entry)
  if (parts === null) throw connectionStringError('A host must be NAME, NAME:PORT or [IPv6]:PORT')
  const [, ipv6, name, digits] = parts
  const port = digits === undefined ? defaultPort : Number(digits)
  if (port < 1 || port > 65_535) throw connectionStringError('A port must be from 1 to 65535')
  return { host: ipv6 ?? (decode(name ?? '', 'host') || 'localhost'), port }
}

function parsePath(kind: Deployment['kind'], path: string): Pick<Deployment, 'master' | 'database'> {
  const [first = '', second = '', ...more] = path.split('/')
  if (kind === 'sentinel') {
    if (first === '' || more.length > 0)
      throw connectionStringError('The name of the master must follow the sentinels: /NAME or /NAME/DATABASE')
    return { master: decode(first, 'name of the master'), database: parseDatabase(second) }
  }
  if (second !== '' || more.length > 0)
    throw connectionStringError('Only the number of the database may follow the host: /DATABASE')
  const database = parseDatabase(first)
  if (kind === 'cluster' && database !== 0)
    throw connectionStringError('A Redis Cluster only has the database 0. Remove /DATABASE')
  return { master: undefined, database }
}

function parseDatabase(digits: string): number {
  if (!/^\d{0,5}$/.test(digits)) throw connectionStringError('The database must be a number')
  return Number(digits)
}

/** Parses `user:password` or `:password`. */
function parseLogin(login: string | undefined): readonly [username: string | undefined, password: string | undefined] {
  if (login === undefined || login === '') return [undefined, undefined]
  // The last @ ends the login. The password would be sent to a wrong host.
  if (/\?(?:prefix|tls|ca|sentinelUsername|sentinelPassword)=/.test(login)) {
    throw connectionStringError(
      'A parameter stands before the last @. Write %40 for an @ in it, or %3F for a ? in a password',
    )
  }
  const colon = login.indexOf(':')
  if (colon < 0) throw connectionStringError('The part before @ must be USER:PASSWORD or :PASSWORD')
  const username = decode(login.slice(0, colon), 'user')
  return [username === '' ? undefined : username, decode(login.slice(colon + 1), 'password')]
}

function parseParameters(query: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>()
  for (const [index, entry] of query.split('&').entries()) {
    if (entry === '') continue
    const [, name = '', value = ''] = /^([^=]*)(?:=(.*))?$/s.exec(entry) ?? []
    if (!PARAMETERS.includes(name)) {
      throw connectionStringError(
        `The parameter ${index + 1} of the connection string is unknown. Known parameters: ${PARAMETERS.join(', ')}`,
      )
    }
    parameters.set(name, decode(value, `parameter ${name}`))
  }
  return parameters
}

function parseSwitch(value: string | undefined): boolean {
  if (value === undefined || value === 'false') return false
  if (value === 'true' || value === '') return true
  throw connectionStringError('The parameter tls must be true or false')
}

function parsePrefix(prefix = 'zyqueue'): string {
  if (!/^[\w.:-]{1,64}$/.test(prefix))
    throw connectionStringError('The parameter prefix must have 1 to 64 characters: letters, digits, or . : _ -')
  return prefix
}

function decode(text: string, part: string): string {
  try {
    const decoded = decodeURIComponent(text)
    if (!decoded.includes('\0')) return decoded
  } catch {
    throw connectionStringError(
      `The ${part} in the connection string has a % that is not percent-encoded. Write %25 for each % in it`,
    )
  }
  throw connectionStringError(`The ${part} in the connection string contains a zero byte`)
}

function connectionStringError(message: string): ConfigError {
  return new ConfigError('ZYQ_CONNECTION_STRING', message)
}

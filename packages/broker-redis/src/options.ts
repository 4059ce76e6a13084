import { resolve } from 'node:path'
import { ConfigError, type ConnectOptions } from '@zyqueue/core/broker'

export interface Address {
  readonly host: string
  readonly port: number
}

/** Where the queues are and how to get in. Holds secrets. */
export interface Deployment {
  readonly kind: 'server' | 'sentinel' | 'cluster'
  /** The server; or the sentinels; or some nodes of the cluster. */
  readonly hosts: readonly [Address, ...Address[]]
  /** The name under which the sentinels know the master. */
  readonly master: string | undefined
  readonly username: string | undefined
  readonly password: string | undefined
  readonly sentinelUsername: string | undefined
  readonly sentinelPassword: string | undefined
  readonly database: number
  readonly tls: boolean
  /** Path of a file of certificates, absolute. */
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

/** Reads a connection string; does no I/O. Throws `ZYQ_CONNECTION_STRING`, in words that hold nothing of the string but names. */
export function parseDeployment({ connection = 'redis://localhost', baseDir }: ConnectOptions): Deployment {
  // Split at the last @ first, so that the time stays in proportion to the length.
  const [, scheme = '', login, place = ''] = /^([a-z+]+):\/\/(?:(.*)@)?([^@]*)$/is.exec(connection) ?? []
  const parts = /^([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(place)
  const [, hosts = '', path = '', query = ''] = parts ?? []
  const known = Object.hasOwn(SCHEMES, scheme.toLowerCase()) ? SCHEMES[scheme.toLowerCase()] : undefined
  if (parts === null || known === undefined)
    throw connectionStringError(`The Redis broker reads connection strings of the form ${FORMS}`)
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

/** For people: hosts and ports, and nothing secret. */
export function locationOf({ kind, hosts, master, database, tls }: Deployment): string {
  const scheme = kind === 'server' ? '' : `${kind} `
  const name = master === undefined ? '' : `${master} at `
  const list = hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',')
  return `${scheme}${name}${list}${database === 0 ? '' : `/${database}`}${tls ? ' (TLS)' : ''}`
}

function parseHosts(list: string, defaultPort: number, several: boolean): readonly [Address, ...Address[]] {
  const [first, ...others] = list.split(',').map((entry) => parseHost(entry, defaultPort))
  if (first === undefined || (others.length > 0 && !several)) {
    throw connectionStringError('Several hosts are for redis+sentinel:// and redis+cluster:// only')
  }
  return [first, ...others]
}

function parseHost(entry: string, defaultPort: number): Address {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^\s:[\]\0]*))(?::(\d{1,5}))?$/i.exec(entry)
  if (parts === null) throw connectionStringError('A host is NAME, NAME:PORT or [IPv6]:PORT')
  const [, ipv6, name, digits] = parts
  const port = digits === undefined ? defaultPort : Number(digits)
  if (port < 1 || port > 65_535) throw connectionStringError('A port is from 1 to 65535')
  return { host: ipv6 ?? (decode(name ?? '') || 'localhost'), port }
}

function parsePath(kind: Deployment['kind'], path: string): Pick<Deployment, 'master' | 'database'> {
  const [first = '', second = '', ...more] = path.split('/')
  if (kind === 'sentinel') {
    if (first === '' || more.length > 0)
      throw connectionStringError('Behind the sentinels stands the name of their master: /NAME or /NAME/DATABASE')
    return { master: decode(first), database: parseDatabase(second) }
  }
  if (second !== '' || more.length > 0)
    throw connectionStringError('Behind the host stands the number of the database only')
  const database = parseDatabase(first)
  if (kind === 'cluster' && database !== 0) throw connectionStringError('A Redis Cluster has the database 0 only')
  return { master: undefined, database }
}

function parseDatabase(digits: string): number {
  if (!/^\d{0,5}$/.test(digits)) throw connectionStringError('The database is a number')
  return Number(digits)
}

/** `user:password` or `:password`. */
function parseLogin(login: string | undefined): readonly [username: string | undefined, password: string | undefined] {
  if (login === undefined || login === '') return [undefined, undefined]
  const colon = login.indexOf(':')
  if (colon < 0) throw connectionStringError('Before the @ stand user and password, as USER:PASSWORD or :PASSWORD')
  const username = decode(login.slice(0, colon))
  return [username === '' ? undefined : username, decode(login.slice(colon + 1))]
}

function parseParameters(query: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>()
  for (const [index, entry] of query.split('&').entries()) {
    if (entry === '') continue
    const [, name = '', value = ''] = /^([^=]*)(?:=(.*))?$/s.exec(entry) ?? []
    if (!PARAMETERS.includes(name)) {
      throw connectionStringError(
        `The parameter ${index + 1} of the connection string is none of ${PARAMETERS.join(', ')}`,
      )
    }
    parameters.set(name, decode(value))
  }
  return parameters
}

function parseSwitch(value: string | undefined): boolean {
  if (value === undefined || value === 'false') return false
  if (value === 'true' || value === '') return true
  throw connectionStringError('tls is true or false')
}

function parsePrefix(prefix = 'zyqueue'): string {
  if (!/^[\w.:-]{1,64}$/.test(prefix))
    throw connectionStringError('A prefix is 1 to 64 letters, digits, or one of . : _ -')
  return prefix
}

function decode(part: string): string {
  try {
    const decoded = decodeURIComponent(part)
    if (!decoded.includes('\0')) return decoded
  } catch {
    // The error of `decodeURIComponent` would not say where to look.
  }
  throw connectionStringError('A part of the connection string is not percent-encoded as it should be')
}

function connectionStringError(message: string): ConfigError {
  return new ConfigError('ZYQ_CONNECTION_STRING', message)
}

import { ConfigError, type QueueSpec } from '@zyqueue/core/broker'
import { isReserved } from './functions.ts'

/** Where a server listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

const DEFAULT_PORT = 4730
const FORMS = 'HOST | HOST:PORT | HOST:PORT,HOST:PORT | gearman://HOST:PORT,HOST:PORT'
const SERVER = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i

/** Reads a connection string; does no I/O. Throws `ZYQ_CONNECTION_STRING`. */
export function parseAddresses(connection: string | undefined): readonly Address[] {
  if (connection === undefined) return [{ host: 'localhost', port: DEFAULT_PORT }]
  const servers = /^(?:gearman:(?:\/\/)?)?([^/]*)\/?$/is.exec(connection.trim())?.[1]
  const addresses = servers?.split(',').map((text) => parseAddress(text.trim()))
  if (addresses === undefined) throw unreadable()
  return [...new Map(addresses.map((address) => [nameOf(address), address])).values()]
}

/** As people write it. */
export function nameOf({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function parseAddress(text: string): Address {
  const [, ipv6, name, digits] = SERVER.exec(text) ?? []
  const host = ipv6 ?? name
  const port = digits === undefined ? DEFAULT_PORT : Number(digits)
  if (host === undefined || port < 1 || port > 65_535) throw unreadable()
  return { host, port }
}

/** What was given may hold a password, although Gearman has none: it is not shown. */
function unreadable(): ConfigError {
  return new ConfigError('ZYQ_CONNECTION_STRING', `The Gearman broker reads connection strings of the form ${FORMS}`)
}

/** Throws `ZYQ_UNSUPPORTED` for options, of which this broker has none, and `ZYQ_QUEUE_NAME` for names that it uses itself. */
export function checkQueue({ name, options }: QueueSpec): void {
  refuseOptions(options)
  if (isReserved(name)) {
    throw new ConfigError('ZYQ_QUEUE_NAME', `The queue name ${name} is the Gearman broker's own: choose another`)
  }
}

/** Whatever is asked for, nobody would do it. Throws `ZYQ_UNSUPPORTED`. */
export function refuseOptions(options: Readonly<Record<string, unknown>> | undefined): void {
  const [name] = Object.keys(options ?? {})
  if (name !== undefined) {
    throw new ConfigError('ZYQ_UNSUPPORTED', `The Gearman broker has no option "${name}"; leave it out`)
  }
}

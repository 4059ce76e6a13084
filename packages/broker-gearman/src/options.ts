import { ConfigError, refuseUnknownOptions, type QueueSpec } from '@zyqueue/core/broker'
import { isReserved } from './functions.ts'

/** The name of the broker in errors. */
export const TITLE = 'Gearman'

/** The host and port of one server. */
export interface Address {
  readonly host: string
  readonly port: number
}

const DEFAULT_PORT = 4730
const FORMS = 'HOST | HOST:PORT | HOST:PORT,HOST:PORT | gearman://HOST:PORT,HOST:PORT'
const SERVER = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i

/** Reads a connection string. Throws `ZYQ_CONNECTION_STRING`. */
export function parseAddresses(connection: string | undefined): readonly Address[] {
  if (connection === undefined) return [{ host: 'localhost', port: DEFAULT_PORT }]
  const servers = /^(?:gearman:(?:\/\/)?)?([^/]*)\/?$/is.exec(connection.trim())?.[1]
  const addresses = servers?.split(',').map((text) => parseAddress(text.trim()))
  if (addresses === undefined) throw invalid()
  return [...new Map(addresses.map((address) => [formatAddress(address), address])).values()]
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function parseAddress(text: string): Address {
  const [, ipv6, name, digits] = SERVER.exec(text) ?? []
  const host = ipv6 ?? name
  const port = digits === undefined ? DEFAULT_PORT : Number(digits)
  if (host === undefined || port < 1 || port > 65_535) throw invalid()
  return { host, port }
}

/** The error does not show the string: it may hold a password, although Gearman has none. */
function invalid(): ConfigError {
  return new ConfigError('ZYQ_CONNECTION_STRING', `The Gearman broker reads connection strings of the form ${FORMS}`)
}

/** Throws `ZYQ_UNSUPPORTED` if the queue has options, and `ZYQ_QUEUE_NAME` if the broker uses its name itself. */
export function checkQueue({ name, options }: QueueSpec): void {
  refuseUnknownOptions(TITLE, options)
  if (isReserved(name)) {
    throw new ConfigError('ZYQ_QUEUE_NAME', `The Gearman broker reserves the queue name ${name}. Choose another name.`)
  }
}

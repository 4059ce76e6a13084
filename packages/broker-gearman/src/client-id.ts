import { Buffer } from 'node:buffer'
import type { ClientInfo } from '@zyqueue/core/broker'

/** gearmand keeps 127 bytes of a client id. */
const MAX_BYTES = 127

/** The id of a worker. A server keeps one word of it, such as `tasks.ts.1@host:4711`. */
export function clientIdOf({ name, host, pid }: ClientInfo): string {
  const place = `@${host.replaceAll(/\s/g, '_')}:${pid}`
  const word = Buffer.from(name.replaceAll(/\s/g, '_'))
  return word.toString('utf8', 0, Math.max(0, MAX_BYTES - Buffer.byteLength(place))) + place
}

/** Reads a client id. The id of another program is taken as its name, and `address` as its host. */
export function clientInfoOf(clientId: string, address: string): ClientInfo {
  const [, name, host, pid] = /^(.*)@([^@]*):(\d{1,10})$/.exec(clientId) ?? []
  if (name === undefined || host === undefined) return { name: clientId === '-' ? '' : clientId, host: address, pid: 0 }
  return { name, host, pid: Number(pid) }
}

export { waitingOn } from '../../dist/gearman/waiting.js'

/** Host and port of a ZyQueue connection string. */
export function addressOf(connection) {
  const { hostname, port } = new URL(connection)
  return { host: hostname, port: Number(port) }
}

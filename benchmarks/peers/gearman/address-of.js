export { waitingOn } from '../../dist/gearman/waiting.js'

/** Where a connection string of ZyQueue leads. */
export function addressOf(connection) {
  const { hostname, port } = new URL(connection)
  return { host: hostname, port: Number(port) }
}

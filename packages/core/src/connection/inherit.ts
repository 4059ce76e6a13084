import { ConfigError } from '../errors.ts'
import type { BrokerPlugin } from '../contract/index.ts'
import type { BrokerChoice } from './discovery.ts'
import { schemeOf } from './scheme.ts'

/**
 * What is meant by a choice, given the one that stands behind it: the task's behind a submit's, the environment's behind both.
 * No choice means the other one, and a connection says all. A server alone does not mean its default place while there is a
 * connection behind it: it takes that, and `findBroker` refuses the two if they contradict each other.
 *
 * Throws `ConfigError` (`ZYQ_CONFIG`) if the connection belongs to another server. `source` names where it comes from.
 */
export function inherit(choice: BrokerChoice, behind: BrokerChoice, source: string): BrokerChoice {
  const { server } = choice
  if (choice.connection !== undefined) return choice
  if (server === undefined || server === behind.server) return behind
  const { connection } = behind
  // A plugin in code that reads no connections has one place only.
  if (connection === undefined || (typeof server === 'object' && server.schemes.length === 0)) return choice
  if (behind.server !== undefined && schemeOf(connection) === undefined) {
    throw contradiction(server, source, `is one of the server ${nameOf(behind.server)}`)
  }
  return { server, connection, connectionFrom: behind.connectionFrom ?? source }
}

/** Throws `ConfigError` (`ZYQ_CONFIG`) if the connection was not given with the server, and is not one that it reads. */
export function checkInherited({ server, connection, connectionFrom }: BrokerChoice, plugin: BrokerPlugin): void {
  const scheme = schemeOf(connection)
  if (server === undefined || connectionFrom === undefined || scheme === undefined) return
  if (plugin.schemes.includes(scheme)) return
  throw contradiction(server, connectionFrom, `begins with ${scheme}:`)
}

function contradiction(server: string | BrokerPlugin, source: string, what: string): ConfigError {
  const name = nameOf(server)
  return new ConfigError(
    'ZYQ_CONFIG',
    `The server ${name} contradicts the connection in ${source}, which ${what}. Give a connection of ${name} too ` +
      `(\`connection\`, -C), leave the server out, or change ${source}.`,
  )
}

function nameOf(server: string | BrokerPlugin): string {
  return typeof server === 'string' ? server : server.name
}

import { ConfigError } from '../errors.ts'
import type { BrokerPlugin } from '../contract/index.ts'
import type { BrokerChoice } from './discovery.ts'
import { schemeOf } from './scheme.ts'

/**
 * Completes a choice with its fallback: a submit falls back to its task, and both fall back to the environment. A choice with
 * a connection needs no fallback, and an empty choice is the fallback. A server alone takes the fallback's connection;
 * `findBroker` rejects the pair if they contradict each other.
 *
 * Throws `ConfigError` (`ZYQ_CONFIG`) if the connection belongs to another server. `source` names where it comes from.
 */
export function inherit(choice: BrokerChoice, behind: BrokerChoice, source: string): BrokerChoice {
  const { server } = choice
  if (choice.connection !== undefined) return choice
  if (server === undefined || server === behind.server) return behind
  const { connection } = behind
  // A plugin in code without schemes needs no connection.
  if (connection === undefined || (typeof server === 'object' && server.schemes.length === 0)) return choice
  if (behind.server !== undefined && schemeOf(connection) === undefined) {
    throw contradiction(server, source, `is one of the server ${nameOf(behind.server)}`)
  }
  return { server, connection, connectionFrom: behind.connectionFrom ?? source }
}

/** Throws `ConfigError` (`ZYQ_CONFIG`) if the connection comes from another source and the server cannot read it. */
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

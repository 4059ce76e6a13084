import { inspect } from 'node:util'
import type { Argv } from 'yargs'
import { installedBrokers } from '@zyqueue/core'
import type { BrokerCapabilities, BrokerPlugin } from '@zyqueue/core/broker'
import { resolveFrom } from '../broker.ts'
import type { GlobalArgs } from '../options.ts'
import { print } from '../output.ts'
import { redactText } from '../redact.ts'
import { table } from '../table.ts'

/** `--json`: `{ brokers: [{ name, schemes, packageName, version, path, capabilities, error }] }`. */
export function brokersCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'brokers',
    'List the installed brokers and their capabilities',
    (command) => command.example('$0 brokers', '').example('$0 brokers --json', 'With all capabilities'),
    async (args) => {
      const brokers = await readInstalled()
      print(args.json, { brokers }, () =>
        table(brokers, {
          name: (broker) => broker.name,
          schemes: (broker) => broker.schemes.map((scheme) => `${scheme}:`).join(' '),
          packageName: (broker) => broker.packageName,
          version: (broker) => broker.version,
          durable: ({ capabilities }) => capabilities && (capabilities.durable ? 'yes' : 'no'),
          delay: ({ capabilities }) => capabilities?.delay,
          deadLetter: ({ capabilities }) => capabilities?.deadLetter,
          priorities: ({ capabilities }) => capabilities?.priorities,
          error: ({ error }) => error ?? '',
        }),
      )
    },
  )
}

export interface BrokerSummary {
  readonly name?: string
  readonly schemes: readonly string[]
  readonly packageName: string
  readonly version?: string | undefined
  readonly path?: string
  readonly capabilities?: BrokerCapabilities
  readonly error?: string
}

async function readInstalled(): Promise<readonly BrokerSummary[]> {
  const found = await installedBrokers({ from: resolveFrom() })
  return Promise.all(
    found.map(async ({ error, plugin, ...broker }) => {
      if (error !== undefined) return { ...broker, error: redactText(error.message) }
      if (plugin === undefined) return { ...broker, error: 'not installed' }
      try {
        return { ...broker, capabilities: await capabilitiesOf(plugin) }
      } catch (thrown) {
        return {
          ...broker,
          error: redactText(`create() threw: ${thrown instanceof Error ? thrown.message : inspect(thrown)}`),
        }
      }
    }),
  )
}

/** `create` opens no connection. */
async function capabilitiesOf(plugin: BrokerPlugin): Promise<BrokerCapabilities> {
  const broker = plugin.create({ baseDir: process.cwd() })
  await broker.close()
  return broker.capabilities
}

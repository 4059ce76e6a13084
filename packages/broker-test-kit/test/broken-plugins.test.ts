import { ConfigError, type Broker, type BrokerPlugin, type ConnectOptions } from '@zyqueue/core/broker'
import { createMemoryBroker, memoryBroker } from '@zyqueue/core/testing'
import { describe, expect, test } from 'vitest'
import { pluginTests } from '../src/index.ts'

/** A correct plugin whose connection strings contain a password. */
const correct: BrokerPlugin = {
  ...memoryBroker(),
  schemes: ['memory', 'memory+tls'],
  create: (options) => brokerAt(options),
}

function brokerAt({ connection = 'memory://localhost' }: ConnectOptions, more: object = {}): Broker {
  if (!URL.canParse(connection) || !connection.startsWith('memory')) {
    throw new ConfigError('ZYQ_CONNECTION_STRING', 'Write the connection string as memory://[USER:PASSWORD@]HOST')
  }
  return Object.assign(createMemoryBroker(), { location: new URL(connection).host, ...more })
}

const shared = createMemoryBroker()

/** Broken plugins by their fault, each with the test that must catch it. */
const faults: Readonly<Record<string, { readonly plugin: BrokerPlugin; readonly caughtBy: string }>> = {
  'has a name with capitals': {
    plugin: { ...correct, name: 'Memory' },
    caughtBy: 'plugin: kind, apiVersion and name are valid',
  },
  'has a scheme with its colon': {
    plugin: { ...correct, schemes: ['memory:'] },
    caughtBy: 'plugin: schemes are valid, unique and without a colon',
  },
  'returns the same broker each time': {
    plugin: { ...correct, create: () => shared },
    caughtBy: 'plugin: create returns a new broker of that name each time',
  },
  'repeats a connection string in an error': {
    plugin: {
      ...correct,
      create({ connection = 'memory:' }) {
        throw new ConfigError('ZYQ_CONNECTION_STRING', `It cannot be read: ${connection}`)
      },
    },
    caughtBy: 'plugin: an invalid connection string throws a ConfigError without the password',
  },
  'has the password in its location': {
    plugin: { ...correct, create: (options) => brokerAt(options, { location: options.connection }) },
    caughtBy: 'plugin: neither location nor a printed broker contains the password',
  },
  'has the password in its location, with one scheme': {
    plugin: {
      ...correct,
      create: (options) => {
        const { connection = '' } = options
        return brokerAt(options, connection.startsWith('memory+tls') ? { location: connection } : {})
      },
    },
    caughtBy: 'plugin: neither location nor a printed broker contains the password',
  },
  'keeps the connection string where it can be printed': {
    plugin: {
      ...correct,
      create: (options) => brokerAt(options, { client: { options: [{ url: options.connection }] } }),
    },
    caughtBy: 'plugin: neither location nor a printed broker contains the password',
  },
}

function suiteOf(plugin: BrokerPlugin): ReadonlyMap<string, () => Promise<void>> {
  const suite = new Map<string, () => Promise<void>>()
  pluginTests({ test: (name, body) => suite.set(name, body), plugin })
  return suite
}

describe('the plugin tests', () => {
  test('passes for a correct plugin', async () => {
    for (const body of suiteOf(correct).values()) await body()
  })

  for (const [fault, { plugin, caughtBy }] of Object.entries(faults)) {
    test(`catches a plugin that ${fault}`, async () => {
      await expect(suiteOf(plugin).get(caughtBy)?.()).rejects.toThrow(/./)
    })
  }

  test('has no test that catches no fault', () => {
    const caught = new Set(Object.values(faults).map(({ caughtBy }) => caughtBy))
    expect([...suiteOf(correct).keys()].filter((name) => !caught.has(name))).toEqual([])
  })
})

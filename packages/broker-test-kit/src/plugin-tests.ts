import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { ConfigError, type Broker, type BrokerPlugin } from '@zyqueue/core/broker'
import type { BrokerHarness } from './harness.ts'

export interface PluginHarness extends Pick<BrokerHarness, 'test'> {
  /** The default export of the adapter's package. */
  readonly plugin: BrokerPlugin
}

const testTimeoutMs = 10_000

/** Registers the tests of an adapter's plugin. They need no server, because `create` does no I/O. */
export function pluginTests({ test, plugin }: PluginHarness): void {
  const define = (name: string, body: () => void): unknown => test(`plugin: ${name}`, async () => body(), testTimeoutMs)

  define('kind, apiVersion and name are valid', () => {
    assert.equal(plugin.kind, 'zyqueue.broker')
    assert.equal(plugin.apiVersion, 2)
    assert.match(plugin.name, /^[a-z][a-z0-9-]*$/)
  })

  define('schemes are valid, unique and without a colon', () => {
    for (const scheme of plugin.schemes) assert.match(scheme, /^[a-z][a-z0-9+.-]*$/)
    assert.equal(new Set(plugin.schemes).size, plugin.schemes.length)
  })

  define('create returns a new broker of that name each time', () => {
    const brokers = [plugin.create({ baseDir: process.cwd() }), plugin.create({ baseDir: process.cwd() })]
    assert.notEqual(brokers[0], brokers[1])
    for (const broker of brokers) assert.equal(broker.name, plugin.name)
  })

  define('an invalid connection string throws a ConfigError without the password', () => {
    const [scheme = plugin.name] = plugin.schemes
    for (const connection of [
      '',
      ' ',
      'kit-no-such-scheme://user:s3cret@localhost',
      `${scheme}://user:s3cret@[`,
      `${scheme}://user:s3cret@localhost:99999999`,
      `${scheme}://user:s3cret@localhost:port/\u0000?x=%`,
    ]) {
      try {
        plugin.create({ connection, baseDir: process.cwd() })
      } catch (error) {
        assert.ok(error instanceof ConfigError, `${JSON.stringify(connection)} must be a ConfigError`)
        assert.ok(!allTextOf(error).includes('s3cret'), 'the error contains the password')
      }
    }
  })

  define('neither location nor a printed broker contains the password', () => {
    for (const scheme of plugin.schemes) {
      for (const rest of [
        '//kit-user:s3cret@localhost',
        '//kit-user:s3cret@localhost:1234/kit',
        '//:s3cret@localhost/0',
      ]) {
        const connection = `${scheme}:${rest}`
        const broker = tryToCreate(plugin, connection)
        if (broker === undefined) continue
        assert.ok(!broker.location?.includes('s3cret'), `the password of ${connection} is in the location`)
        const printed = inspect(broker, { depth: Infinity, getters: true, maxStringLength: null, maxArrayLength: null })
        assert.ok(!printed.includes('s3cret'), `the password of ${connection} is in the output of util.inspect(broker)`)
      }
    }
  })
}

/** Creates a broker; undefined if the plugin refuses the connection string. */
function tryToCreate(plugin: BrokerPlugin, connection: string): Broker | undefined {
  try {
    return plugin.create({ connection, baseDir: process.cwd() })
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return undefined
  }
}

/** Everything that a log can show of an error, with its causes. */
function allTextOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return [error.message, error.stack, JSON.stringify(error), allTextOf(error.cause ?? '')].join('\n')
}

import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { ConfigError, type Broker, type BrokerPlugin } from '@zyqueue/core/broker'
import type { BrokerHarness } from './harness.ts'

export interface PluginHarness extends Pick<BrokerHarness, 'test'> {
  /** What the adapter's package exports as its default. */
  readonly plugin: BrokerPlugin
}

const testTimeoutMs = 10_000

/** Registers the tests of an adapter's plugin. They need no server: `create` does no I/O. */
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
        assert.ok(!wholeTextOf(error).includes('s3cret'), 'the password is in the error')
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
        const broker = created(plugin, connection)
        if (broker === undefined) continue
        assert.ok(!broker.location?.includes('s3cret'), `the password of ${connection} is in the location`)
        const printed = inspect(broker, { depth: Infinity, getters: true, maxStringLength: null, maxArrayLength: null })
        assert.ok(!printed.includes('s3cret'), `the password of ${connection} is in what is printed of the broker`)
      }
    }
  })
}

/** The broker, or nothing if the plugin does not read such a connection string. */
function created(plugin: BrokerPlugin, connection: string): Broker | undefined {
  try {
    return plugin.create({ connection, baseDir: process.cwd() })
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return undefined
  }
}

/** All that a log could show of an error, its causes included. */
function wholeTextOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return [error.message, error.stack, JSON.stringify(error), wholeTextOf(error.cause ?? '')].join('\n')
}

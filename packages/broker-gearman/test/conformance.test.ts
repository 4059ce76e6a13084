import { brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import { startGearmand, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, test } from 'vitest'
import plugin from '../src/index.ts'
import { proxied } from './proxied.ts'

describe('plugin', () => pluginTests({ test, plugin }))

await describeWithServer('gearmand', 'one server', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startGearmand({ persistent: false })
  })
  const { close, ...brokers } = proxied(() => [server])
  afterAll(() => Promise.all([close(), server.stop()]))
  brokerTests({ test: test.concurrent, ...brokers, patienceMs: 30_000 })
})

await describeWithServer('gearmand', 'two servers', () => {
  let servers: readonly TestServer[] = []
  beforeAll(async () => {
    servers = await Promise.all([startGearmand({ persistent: false }), startGearmand({ persistent: false })])
  })
  const { close, ...brokers } = proxied(() => servers)
  afterAll(() => Promise.all([close(), ...servers.map((server) => server.stop())]))
  brokerTests({ test: test.concurrent, ...brokers, patienceMs: 30_000 })
})

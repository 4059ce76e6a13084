import { behindProxies, brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import { startNats, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'

pluginTests({ test, plugin })

await describeWithServer('nats', 'conformance', () => {
  let server: TestServer
  const { close, ...brokers } = behindProxies(
    () => [server.port],
    ([port]) => plugin.create({ connection: `nats://127.0.0.1:${port}?ackWait=15`, baseDir: process.cwd() }),
  )
  beforeAll(async () => void (server = await startNats()))
  afterAll(() => Promise.all([close(), server.stop()]))
  // A lease is `ackWait`, and a test of a lost owner waits for its end. It must be long enough to settle 1,500 jobs on a busy machine.
  brokerTests({ test: test.concurrent, ...brokers, patienceMs: 60_000 })
})

import { behindProxies, brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { startNats, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'

pluginTests({ test, plugin })

await describeWithServer('nats', 'conformance', () => {
  let server: TestServer
  // In seconds. Tests of a lost worker wait for it; a busy machine must be able to settle 1,500 jobs within it.
  const ackWait = 15
  const brokerAt = (port = 4222): Broker =>
    plugin.create({ connection: `nats://127.0.0.1:${port}?ackWait=${ackWait}`, baseDir: process.cwd() })
  const { close, ...brokers } = behindProxies(
    () => [server.port],
    ([port]) => brokerAt(port),
  )
  beforeAll(async () => void (server = await startNats()))
  afterAll(() => Promise.all([close(), server.stop()]))
  const restart = async (): Promise<void> => {
    await server.kill('SIGKILL')
    await server.restart()
  }
  brokerTests({
    test: test.concurrent,
    ...brokers,
    restart,
    sample: brokerAt(),
    messageTimeoutMs: 1000 * ackWait,
    timeoutMs: 60_000,
  })
})

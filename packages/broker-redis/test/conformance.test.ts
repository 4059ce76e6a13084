import { behindProxies, brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'

pluginTests({ test, plugin })

await describeWithServer('redis', 'a server', () => {
  let server: TestServer
  let evicting: TestServer
  beforeAll(async () => {
    ;[server, evicting] = await Promise.all([startRedis(), startRedis({ config: 'maxmemory-policy allkeys-lru' })])
  })
  const brokerAt = (port?: number): Broker =>
    plugin.create({ connection: `redis://127.0.0.1:${port ?? 6379}`, baseDir: process.cwd() })
  const { close, ...brokers } = behindProxies(
    () => [server.port],
    ([port]) => brokerAt(port),
  )
  afterAll(() => Promise.all([close(), server.stop(), evicting.stop()]))
  const restart = async (): Promise<void> => {
    await server.kill('SIGKILL')
    await server.restart()
  }
  brokerTests({
    test: test.concurrent,
    ...brokers,
    restart,
    sample: brokerAt(),
    brokerWithFinding: () => brokerAt(evicting.port),
    patienceMs: 30_000,
  })
})

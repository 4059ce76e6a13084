import { behindProxies, brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'
import { Keys } from '../src/keys.ts'

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
  /** Stores a value in the list of the queue, as another program may do. */
  const storeUnreadable = async (queue: string): Promise<Uint8Array> => {
    const value = Buffer.from('{"not":"ours"}')
    const client = new Redis(server.url)
    await client.lpush(new Keys('zyqueue').of(queue).ready, value)
    client.disconnect()
    return value
  }
  brokerTests({
    test: test.concurrent,
    ...brokers,
    restart,
    storeUnreadable,
    sample: brokerAt(),
    brokerWithFinding: () => brokerAt(evicting.port),
    timeoutMs: 30_000,
  })
})

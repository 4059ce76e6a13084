import { behindProxies, brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'

pluginTests({ test, plugin })

await describeWithServer('redis', 'a server', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis()
  })
  const { close, ...brokers } = behindProxies(
    () => [server.port],
    ([port]) => plugin.create({ connection: `redis://127.0.0.1:${port}`, baseDir: process.cwd() }),
  )
  afterAll(() => Promise.all([close(), server.stop()]))
  const restart = async (): Promise<void> => {
    await server.kill('SIGKILL')
    await server.restart()
  }
  brokerTests({ test: test.concurrent, ...brokers, restart, patienceMs: 30_000 })
})

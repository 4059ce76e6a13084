import { brokerTests } from '@zyqueue/broker-test-kit'
import { startRedisCluster, type TestCluster } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'

await describeWithServer('redis', 'a cluster of three masters', () => {
  let cluster: TestCluster
  beforeAll(async () => {
    cluster = await startRedisCluster()
  })
  afterAll(() => cluster.stop())
  brokerTests({
    test: test.concurrent,
    createBroker: () => plugin.create({ connection: cluster.url, baseDir: process.cwd() }),
    sample: plugin.create({ connection: 'redis+cluster://127.0.0.1', baseDir: process.cwd() }),
    timeoutMs: 30_000,
  })
})

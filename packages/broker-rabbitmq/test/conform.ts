import { behindProxies, brokerTests } from '@zyqueue/broker-test-kit'
import { startRabbitmq, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'
import type { QueueType } from '../src/options.ts'

/** Registers the conformance suite on queues of one type. It mostly waits: each type has a file, and files run side by side. */
export function conforms(queueType: QueueType): Promise<void> {
  return describeWithServer('rabbitmq', `conformance with ${queueType} queues`, () => {
    let server: TestServer
    const { close, ...brokers } = behindProxies(
      () => [server.port],
      ([port]) => {
        const connection = `amqp://guest:guest@127.0.0.1:${port}?queueType=${queueType}&management=off`
        return plugin.create({ connection, baseDir: process.cwd() })
      },
    )
    beforeAll(async () => {
      server = await startRabbitmq()
    })
    afterAll(async () => {
      await close()
      await server?.stop()
    })

    brokerTests({ test: test.concurrent, ...brokers, patienceMs: 30_000 })
  })
}

import { behindProxies, brokerTests } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { startRabbitmq, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { connect } from 'amqplib'
import { afterAll, beforeAll, test } from 'vitest'
import plugin from '../src/index.ts'
import type { QueueType } from '../src/options.ts'

/** Usually at once. If the server was moving a job when the node died, it repeats that after three minutes, or six. */
const DELAYED_AFTER_RESTART_MS = 480_000

/** Registers the conformance suite on queues of one type. It mostly waits: each type has a file, and files run side by side. */
export function conforms(queueType: QueueType): Promise<void> {
  return describeWithServer('rabbitmq', `conformance with ${queueType} queues`, () => {
    let server: TestServer
    const brokerAt = (port = 5672): Broker => {
      const connection = `amqp://guest:guest@127.0.0.1:${port}?queueType=${queueType}&management=off`
      return plugin.create({ connection, baseDir: process.cwd() })
    }
    const { close, ...brokers } = behindProxies(
      () => [server.port],
      ([port]) => brokerAt(port),
    )
    beforeAll(async () => {
      server = await startRabbitmq()
    })
    afterAll(async () => {
      await close()
      await server?.stop()
    })

    const restart = async (): Promise<void> => {
      await server.kill('SIGKILL')
      await server.restart()
    }
    const storeUnreadable = async (queue: string): Promise<Uint8Array> => {
      const body = Buffer.from('no JSON')
      const connection = await connect(server.url)
      const channel = await connection.createConfirmChannel()
      channel.sendToQueue(queue, body)
      await channel.waitForConfirms()
      await connection.close()
      return body
    }
    brokerTests({
      test: test.concurrent,
      ...brokers,
      restart,
      storeUnreadable,
      sample: brokerAt(),
      timeoutMs: 30_000,
      delayedAfterRestartMs: DELAYED_AFTER_RESTART_MS,
    })
  })
}

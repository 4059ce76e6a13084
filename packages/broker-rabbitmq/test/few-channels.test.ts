/** What becomes of a batch if the server allows fewer channels than it takes to send the whole batch. */
import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { message, openBroker, openAmqp, queueNamed, unique } from './support.ts'

/** Longer than any job that a server must take, so that it may need a channel of its own. */
const LARGE = 'x'.repeat(10_000)

await describeWithServer('rabbitmq', 'a server that allows one channel for each connection', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq({ config: 'channel_max = 1' })
  })
  afterAll(() => server?.stop())

  test('a batch that is stored in part has a result for each job, and `stored` is what is in the queue', async () => {
    const amqp = await openAmqp(server.url)
    const queue = queueNamed(unique())
    await amqp.assertQueue(queue.name, { durable: true, arguments: { 'x-queue-type': 'classic' } })
    const broker = await openBroker(server.url)
    const bodies = [1, LARGE, 2]
    const results = await broker.publish(bodies.map((body) => message(queue, body)))
    expect(results).toHaveLength(bodies.length)
    expect(results[0]).toMatchObject({ status: 'stored' })
    const { messageCount } = await amqp.checkQueue(queue.name)
    expect(results.filter(({ status }) => status === 'stored')).toHaveLength(messageCount)
    expect(results.filter(({ status }) => status === 'unknown')).toEqual([])
  })
})

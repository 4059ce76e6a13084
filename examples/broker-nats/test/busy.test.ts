import { setImmediate as turn } from 'node:timers/promises'
import { startNats } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { expect, onTestFinished, test } from 'vitest'
import plugin from '../src/index.ts'

/** Longer than the time after which a pull without an answer checks the connection. */
const BLOCKED_MS = 6_000

await describeWithServer('nats', 'a busy process', () => {
  test('a job that arrives while the event loop is blocked counts no lost delivery', async () => {
    await using server = await startNats()
    const broker = plugin.create({ connection: server.url, baseDir: process.cwd() })
    onTestFinished(() => broker.close())
    const queue = { name: 'busy', options: {} }
    await broker.connect()
    await broker.declare([queue])
    const message = { queue: 'busy', id: 'job', body: Buffer.from('1'), headers: {}, delayMs: 0, priority: 4 }
    expect(await broker.publish([message])).toEqual([{ status: 'stored' }])
    const consumer = await broker.consume({
      queues: [queue],
      prefetch: 1,
      leaseMs: 600_000,
      consumerId: 'busy',
      client: { name: 'busy.1', host: 'localhost', pid: process.pid },
    })

    const receiving = consumer.receive(1, { signal: new AbortController().signal })
    await turn() // The pull has been sent.
    for (const end = performance.now() + BLOCKED_MS; performance.now() < end;);
    let deliveries = await receiving
    while (deliveries.length === 0) deliveries = await consumer.receive(1, { signal: new AbortController().signal })
    expect(deliveries).toMatchObject([{ id: 'job', deliveryCount: 0 }])
    expect(await consumer.ack(deliveries)).toEqual([{ status: 'ok' }])
  })
})

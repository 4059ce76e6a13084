import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  bodyOf,
  consume,
  declared,
  eventually,
  message,
  openAmqp,
  openBroker,
  receive,
  receiveOne,
  store,
} from '../support.ts'

await describeWithServer('rabbitmq', 'delays', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq()
  })
  afterAll(() => server?.stop())

  test('of mixed lengths, each comes in its time, none waits for a longer one', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    const years = message(queue, 'years', { delayMs: 86_400_000 * 3650 })
    await store(broker, [years])
    const delays = [1_900, 40, 700, 15, 1_200, 300]
    const since = performance.now()
    await store(
      broker,
      delays.map((delayMs) => message(queue, delayMs, { delayMs })),
    )
    const consumer = await consume(broker, [queue])
    const came: unknown[] = []
    while (came.length < delays.length) {
      const delayMs = bodyOf(await receiveOne(consumer))
      came.push(delayMs)
      expect(performance.now() - since).toBeGreaterThan(Number(delayMs) - 20)
    }
    expect(new Set(came)).toEqual(new Set(delays))
  })

  test('a delayed job of a queue that is deleted meanwhile is kept, and delays no other job', async () => {
    const broker = await openBroker(server.url)
    const [deleted, other] = [await declared(broker), await declared(broker)]
    const amqp = await openAmqp(server.url)
    await store(broker, [
      ...Array.from({ length: 100 }, (_, index) => message(deleted, index, { delayMs: 15_000 })),
      message(other, 'other', { delayMs: 15_000 }),
    ])
    expect(await amqp.deleteQueue(deleted.name)).toEqual({ messageCount: 0 })
    expect(bodyOf(await receiveOne(await consume(broker, [other])))).toBe('other')
    await eventually('check reports the orphans', async () =>
      (await broker.admin.check()).some(({ message: text }) => text.startsWith('100 delayed jobs')),
    )
    await amqp.purgeQueue('zyqueue.orphans')
  })

  test('to purge one queue leaves what is delayed for the others', async () => {
    const broker = await openBroker(server.url)
    const [purged, other] = [await declared(broker), await declared(broker)]
    await store(
      broker,
      Array.from({ length: 60 }, (_, index) =>
        message(index % 2 === 0 ? purged : other, index, { delayMs: 20_000 + index }),
      ),
    )
    expect(await broker.admin.purge(purged.name)).toBe(30)
    expect(await receive(await consume(broker, [other]), 30)).toHaveLength(30)
    expect(await broker.admin.purge(purged.name)).toBe(0)
  })
})

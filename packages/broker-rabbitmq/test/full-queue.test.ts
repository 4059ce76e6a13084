/** What becomes due while its queue is full: the server offers it again after three minutes, and after six at worst. */
import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Broker, Consumer, QueueSpec } from '@zyqueue/core/broker'
import {
  bodyOf,
  consume,
  declared,
  eventually,
  message,
  never,
  openBroker,
  openAmqp,
  receive,
  receiveOne,
  store,
} from './support.ts'

await describeWithServer('rabbitmq', 'a queue that is full', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq()
  })
  afterAll(() => server?.stop())

  /** Resolves to how many jobs have found room. */
  async function fill(broker: Broker, queue: QueueSpec): Promise<number> {
    let stored = 0
    await eventually('the queue is full', async () => {
      const [result] = await broker.publish([message(queue, 'filler')])
      if (result?.status === 'stored') stored++
      return result?.status === 'refused'
    })
    return stored
  }

  /** Resolves when what was delayed before by less than a second is due. */
  async function due(broker: Broker): Promise<void> {
    const other = await declared(broker)
    await store(broker, [message(other, 'marker', { delayMs: 1_500 })])
    await receiveOne(await consume(broker, [other]))
  }

  async function ackAll(consumer: Consumer, count: number): Promise<readonly unknown[]> {
    const deliveries = await receive(consumer, count)
    await consumer.ack(deliveries)
    return deliveries.map(bodyOf)
  }

  const LIMIT = { 'x-max-length': 3, 'x-overflow': 'reject-publish' }

  test('a worker that declares no limit runs what became due in the other queue', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker, { arguments: LIMIT })
    await store(broker, [message(queue, 'delayed', { delayMs: 20 })])
    const passive = { name: queue.name, options: { passive: true } }
    const worker = await openBroker(server.url)
    await worker.declare([passive])
    const consumer = await consume(worker, [passive])
    expect(await ackAll(consumer, 1)).toEqual(['delayed'])
    // It must not wait for a queue that it does not declare.
    const amqp = await openAmqp(server.url)
    await amqp.deleteQueue(`${queue.name}.due`)
    for (const next of ['next', 'and next']) {
      expect(await consumer.receive(1, { signal: never })).toEqual([])
      await store(worker, [message(passive, next)])
      expect(await ackAll(consumer, 1)).toEqual([next])
    }
  })

  test('a queue with a single active consumer has no other queue', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker, { arguments: { ...LIMIT, 'x-single-active-consumer': true } })
    await store(broker, [message(queue, 'delayed', { delayMs: 20 })])
    expect(await ackAll(await consume(broker, [queue]), 1)).toEqual(['delayed'])
    const amqp = await openAmqp(server.url)
    await expect(amqp.checkQueue(`${queue.name}.due`)).rejects.toThrow(/no queue/)
  })

  test('another process counts the other queue', async () => {
    const broker = await openBroker(server.url)
    const limited = await declared(broker, { arguments: LIMIT })
    await store(broker, [message(limited, 'delayed', { delayMs: 20 })])
    const other = await openBroker(server.url)
    const ready = async () => (await other.admin.queues()).find(({ name }) => name === limited.name)?.ready
    await eventually('it is counted', async () => (await ready()) === 1)
  })

  describe.each(['quorum', 'classic'])('%s', (queueType) => {
    const bounded = (broker: Broker) => declared(broker, { queueType, arguments: LIMIT })

    test('a retry that becomes due meanwhile runs when there is room', async () => {
      const broker = await openBroker(server.url)
      const queue = await bounded(broker)
      await store(broker, [message(queue, 'retried')])
      const first = await consume(broker, [queue])
      const delivery = await receiveOne(first)
      expect(await first.release([{ delivery, delayMs: 500, headers: { tried: '1' } }])).toEqual([{ status: 'ok' }])
      await first.close()
      const fillers = await fill(broker, queue)
      await due(broker)
      const second = await consume(broker, [queue])
      expect(new Set(await ackAll(second, fillers + 1))).toEqual(new Set(['filler', 'retried']))
    })

    test('what has become due meanwhile is counted, and purged with the queue', async () => {
      const broker = await openBroker(server.url)
      const queue = await bounded(broker)
      await store(broker, [message(queue, 'due', { delayMs: 500 })])
      const fillers = await fill(broker, queue)
      await due(broker)
      const ready = async () => (await broker.admin.queues()).find(({ name }) => name === queue.name)?.ready
      await eventually('all are counted', async () => (await ready()) === fillers + 1)
      expect(await broker.admin.purge(queue.name)).toBe(fillers + 1)
      await eventually('none is left', async () => (await ready()) === 0)
    })

    test('a delayed job that becomes due meanwhile runs when there is room, and holds up no other queue', async () => {
      const broker = await openBroker(server.url)
      const queue = await bounded(broker)
      const sound = await declared(broker)
      await store(
        broker,
        Array.from({ length: 40 }, (_, index) => message(queue, index, { delayMs: 500 })),
      )
      const fillers = await fill(broker, queue)
      await due(broker)
      await store(broker, [message(sound, 'sound', { delayMs: 500 })])
      expect(bodyOf(await receiveOne(await consume(broker, [sound])))).toBe('sound')
      const bodies = await ackAll(await consume(broker, [queue]), fillers + 40)
      expect(bodies.filter((body) => body !== 'filler')).toHaveLength(40)
    })
  })
})

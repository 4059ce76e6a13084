/** What producers and workers do when an operator deletes what they have declared. */
import type { Broker, QueueSpec } from '@zyqueue/core/broker'
import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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
  unique,
} from './support.ts'

await describeWithServer('rabbitmq', 'what was deleted is declared again', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq()
  })
  afterAll(() => server?.stop())

  const deletions = {
    'its queue': async (queue: QueueSpec) => {
      await (await openAmqp(server.url)).deleteQueue(queue.name)
    },
    'its exchange': async (_queue: QueueSpec, exchange: string) => {
      await (await openAmqp(server.url)).deleteExchange(exchange)
    },
    'the binding between both': async (queue: QueueSpec, exchange: string) => {
      await (await openAmqp(server.url)).unbindQueue(queue.name, exchange, 'key')
    },
    all: async (queue: QueueSpec, exchange: string) => {
      const amqp = await openAmqp(server.url)
      await amqp.deleteQueue(queue.name)
      await amqp.deleteExchange(exchange)
    },
  }

  async function bound(broker: Broker): Promise<{ readonly queue: QueueSpec; readonly exchange: string }> {
    const exchange = unique('x')
    return { queue: await declared(broker, { exchange, exchangeType: 'direct', routingKeys: 'key' }), exchange }
  }

  describe.each(Object.entries(deletions))('%s', (what, remove) => {
    test('a producer stores its jobs again at once, each once', async () => {
      const broker = await openBroker(server.url)
      const { queue, exchange } = await bound(broker)
      await store(broker, [message(queue, 'before')])
      await remove(queue, exchange)
      await store(broker, [message(queue, 'first')])
      const numbers = Array.from({ length: 40 }, (_, index) => index)
      await Promise.all(numbers.map((number) => store(broker, [message(queue, number)])))
      const consumer = await consume(broker, [queue], { prefetch: 200 })
      const kept = what === 'its queue' || what === 'all' ? ['first'] : ['before', 'first']
      const bodies = (await receive(consumer, 40 + kept.length)).map(bodyOf)
      expect(new Set(bodies)).toEqual(new Set([...kept, ...numbers]))
      expect(await consumer.receive(100, { signal: never })).toEqual([])
    })

    test('a worker gets the jobs of other programs again', async () => {
      const broker = await openBroker(server.url)
      const { queue, exchange } = await bound(broker)
      const consumer = await consume(broker, [queue])
      expect(await consumer.receive(1, { signal: never })).toEqual([])
      await remove(queue, exchange)
      await eventually('a job of the exchange comes', async () => {
        const amqp = await openAmqp(server.url)
        amqp.publish(exchange, 'key', Buffer.from('1'))
        return (await consumer.receive(1, { signal: never })).length > 0
      })
    })
  })

  test('a worker binds its other queues again if one of its exchanges has another type now', async () => {
    const broker = await openBroker(server.url)
    const [bad, good] = [await bound(broker), await bound(broker)]
    const consumer = await consume(broker, [bad.queue, good.queue])
    const amqp = await openAmqp(server.url)
    await amqp.deleteExchange(bad.exchange)
    await amqp.assertExchange(bad.exchange, 'fanout')
    await amqp.unbindQueue(good.queue.name, good.exchange, 'key')
    await eventually('a job of the exchange comes', async () => {
      amqp.publish(good.exchange, 'key', Buffer.from('1'))
      return (await consumer.receive(1, { signal: never })).length > 0
    })
  })

  test('a queue that cannot be declared again says why', async () => {
    const broker = await openBroker(server.url)
    const { queue, exchange } = await bound(broker)
    const amqp = await openAmqp(server.url)
    await amqp.deleteExchange(exchange)
    await amqp.assertExchange(exchange, 'fanout')
    for (let times = 0; times < 2; times++) {
      expect(await broker.publish([message(queue, 1)])).toMatchObject([
        { status: 'refused', error: { code: 'ZYQ_UNROUTABLE', message: expect.stringContaining('differs in type') } },
      ])
    }
  })

  test('a queue whose restoration did not help is not restored with each job', async () => {
    const broker = await openBroker(server.url)
    const { queue, exchange } = await bound(broker)
    const amqp = await openAmqp(server.url)
    const refuse = async () => {
      const results = await broker.publish([message(queue, 1, { options: { routingKeys: 'nowhere' } })])
      expect(results).toMatchObject([{ status: 'refused', error: { code: 'ZYQ_UNROUTABLE' } }])
    }
    await eventually('a refused job leaves the topology as it is', async () => {
      await refuse()
      await amqp.unbindQueue(queue.name, exchange, 'key')
      await refuse()
      return !(await server.ctl('list_bindings', 'source_name')).includes(exchange)
    })
  })

  test('a worker whose temporary queue lost its exchange gets the jobs of other programs again', async () => {
    const broker = await openBroker(server.url)
    const exchange = unique('x')
    const queue = { name: unique(), unnamed: true, options: { exchange, exchangeType: 'fanout' } }
    await broker.declare([queue])
    const consumer = await consume(broker, [queue])
    await (await openAmqp(server.url)).deleteExchange(exchange)
    await eventually('a job of the exchange comes', async () => {
      const amqp = await openAmqp(server.url)
      amqp.publish(exchange, '', Buffer.from('1'))
      return (await consumer.receive(1, { signal: never })).length > 0
    })
  })

  test('a producer of a queue without an exchange stores its jobs again, delayed ones too', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    await store(broker, [message(queue, 'before'), message(queue, 'before', { delayMs: 1 })])
    await (await openAmqp(server.url)).deleteQueue(queue.name)
    await store(broker, [message(queue, 'now')])
    await store(broker, [message(queue, 'later', { delayMs: 20 })])
    const deliveries = await receive(await consume(broker, [queue]), 2)
    expect(new Set(deliveries.map(bodyOf))).toEqual(new Set(['later', 'now']))
  })

  test('the retries of a worker come back to its queue after that was deleted', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    const consumer = await consume(broker, [queue])
    await store(broker, [message(queue, 'first')])
    const first = await receiveOne(consumer)
    expect(await consumer.release([{ delivery: first, delayMs: 20 }])).toEqual([{ status: 'ok' }])
    expect(await consumer.ack([await receiveOne(consumer)])).toEqual([{ status: 'ok' }])
    expect(await consumer.receive(1, { signal: never })).toEqual([])
    await (await openAmqp(server.url)).deleteQueue(queue.name)
    await eventually(
      'the queue is there again',
      async () => (await broker.publish([message(queue, 'second')]))[0]?.status === 'stored',
    )
    const second = await receiveOne(consumer)
    expect(await consumer.release([{ delivery: second, delayMs: 20 }])).toEqual([{ status: 'ok' }])
    expect((await receive(consumer, 1)).map(bodyOf)).toEqual(['second'])
  })

  test('what its owner does not want to be declared is not', async () => {
    const broker = await openBroker(server.url)
    const amqp = await openAmqp(server.url)
    const name = unique()
    await amqp.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
    const queue = { name, options: { passive: true } }
    await broker.declare([queue])
    await store(broker, [message(queue, 1)])
    await amqp.deleteQueue(name)
    expect(await broker.publish([message(queue, 2)])).toMatchObject([
      { status: 'refused', error: { code: 'ZYQ_UNROUTABLE' } },
    ])
  })

  test('a settlement declares the dead-letter queue and the delay levels again', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    await store(broker, [message(queue, 'dead'), message(queue, 'retried')])
    const consumer = await consume(broker, [queue])
    const [dead, retried] = await receive(consumer, 2)
    if (dead === undefined || retried === undefined) expect.fail('two jobs')
    const amqp = await openAmqp(server.url)
    await amqp.deleteQueue(`${queue.name}.dead`)
    for (let level = 0; level < 4; level++) {
      await amqp.deleteQueue(`zyqueue.delay.v2.normal.${level}`)
      await amqp.deleteExchange(`zyqueue.delay.v2.normal.${level}`)
    }
    expect(await consumer.reject([{ delivery: dead, reason: 'ZYQ_TEST' }])).toEqual([{ status: 'ok' }])
    expect(await consumer.release([{ delivery: retried, delayMs: 200 }])).toEqual([{ status: 'ok' }])
    const again = await receiveOne(consumer)
    expect([bodyOf(again), again.deliveryCount]).toEqual(['retried', 0])
    expect(await broker.admin.deadLetters.list(queue.name, { limit: 2 })).toHaveLength(1)
  })
})

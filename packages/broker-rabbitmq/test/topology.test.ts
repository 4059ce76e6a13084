import type { Broker, QueueSpec } from '@zyqueue/core/broker'
import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  bodyOf,
  codeOf,
  consume,
  declared,
  errorOf,
  message,
  openAmqp,
  openBroker,
  queueNamed,
  receive,
  receiveOne,
  store,
  unique,
} from './support.ts'

await describeWithServer('rabbitmq', 'exchanges and declarations', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq()
  })
  afterAll(() => server?.stop())

  /** A worker of a task with an exchange and without a queue: it has a temporary queue. */
  async function listener(broker: Broker, options: QueueSpec['options']) {
    const queue: QueueSpec = { name: unique('task'), unnamed: true, options }
    await broker.declare([queue])
    const consumer = await consume(broker, [queue])
    // Consumes from now on.
    expect(await consumer.receive(1, { signal: AbortSignal.timeout(50) })).toEqual([])
    return consumer
  }

  describe('exchanges', () => {
    test('fanout: each worker without a queue of its own name gets every job', async () => {
      const broker = await openBroker(server.url)
      const exchange = unique('x')
      const options = { exchange, exchangeType: 'fanout' }
      const listeners = [await listener(broker, options), await listener(await openBroker(server.url), options)]
      const task: QueueSpec = { name: unique('task'), unnamed: true, options }
      await broker.declare([task])
      await store(broker, [message(task, 'news')])
      for (const each of listeners) expect(bodyOf(await receiveOne(each))).toBe('news')
    })

    test('topic and direct: queues are bound by their keys, and a submission may bring its own', async () => {
      const broker = await openBroker(server.url)
      for (const [exchangeType, pattern] of [
        ['topic', 'photo.*'],
        ['direct', 'photo.png'],
      ] as const) {
        const options = { exchange: unique('x'), exchangeType, routingKeys: [pattern, 'all'] }
        const queue = queueNamed(unique(), options)
        await broker.declare([queue])
        const [routed, lost, both] = await broker.publish([
          message(queue, 1, { options: { routingKeys: 'photo.png' } }),
          message(queue, 2, { options: { routingKeys: ['film.avi'] } }),
          message(queue, 3, { options: { routingKeys: 'photo.png, all' } }),
        ])
        expect(routed).toEqual({ status: 'stored' })
        expect(lost).toMatchObject({ status: 'refused', error: { code: 'ZYQ_UNROUTABLE' } })
        expect(both).toEqual({ status: 'stored' })
        const consumer = await consume(broker, [queue])
        expect((await receive(consumer, 3)).map(bodyOf)).toEqual([1, 3, 3])
      }
    })

    test('each job of a batch has its own result if others have several keys or are refused', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker, { exchange: unique('x'), routingKeys: 'one,two' })
      const results = await broker.publish([
        message(queue, 'twice'),
        message(queue, 'refused', { options: { exchangeType: 'unknown' } }),
        message(queue, 'nowhere', { options: { routingKeys: 'nowhere' } }),
        message(queue, 'once', { options: { routingKeys: 'one' } }),
      ])
      expect(results.map(({ status }) => status)).toEqual(['stored', 'refused', 'refused', 'stored'])
      const deliveries = await receive(await consume(broker, [queue]), 3)
      expect(deliveries.map(bodyOf)).toEqual(['twice', 'twice', 'once'])
    })

    test('of several keys one that leads nowhere leaves the outcome open', async () => {
      const broker = await openBroker(server.url)
      const queue = queueNamed(unique(), { exchange: unique('x'), routingKeys: 'here' })
      await broker.declare([queue])
      const [result] = await broker.publish([message(queue, 1, { options: { routingKeys: 'here,nowhere' } })])
      expect(result).toMatchObject({ status: 'unknown', error: { code: 'ZYQ_UNROUTABLE' } })
    })

    test('headers: header=value is what queues are bound by, and what jobs are sent with', async () => {
      const broker = await openBroker(server.url)
      const exchange = unique('x')
      const options = { exchange, exchangeType: 'headers', routingKeys: 'format=pdf,kind=report' }
      const queue = queueNamed(unique(), options)
      await broker.declare([queue])
      const results = await broker.publish([
        message(queue, 'as declared'),
        message(queue, 'other', { options: { routingKeys: ['format=png', 'kind=report'] } }),
      ])
      expect(results.map(({ status }) => status)).toEqual(['stored', 'refused'])
      expect((await receiveOne(await consume(broker, [queue]))).headers).toEqual({ format: 'pdf', kind: 'report' })
    })

    test('a delayed job goes to its exchange when its time has come', async () => {
      const broker = await openBroker(server.url)
      const options = { exchange: unique('x'), exchangeType: 'topic', routingKeys: 'a.b' }
      const queue = queueNamed(unique(), options)
      await broker.declare([queue])
      const since = performance.now()
      await store(broker, [message(queue, 'later', { delayMs: 300 })])
      expect(await receiveOne(await consume(broker, [queue]))).toMatchObject({ headers: {} })
      expect(performance.now() - since).toBeGreaterThan(280)
    })

    test('jobs for a missing exchange are refused, and other jobs are stored', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const batch = Array.from({ length: 20 }, (_, index) =>
        message(queue, index, index % 2 === 0 ? {} : { options: { exchange: 'no-such-exchange' } }),
      )
      for (const [index, result] of (await broker.publish(batch)).entries()) {
        if (index % 2 === 0) expect(result).toEqual({ status: 'stored' })
        else expect(result).toMatchObject({ status: 'refused', error: { code: 'ZYQ_UNROUTABLE' } })
      }
    })
  })

  describe('declarations', () => {
    test('a declaration that differs says how, and changes nothing', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker, { arguments: { 'x-max-length': 5 } })
      const consumer = await consume(broker, [queue])
      const other = queueNamed(queue.name, { arguments: { 'x-max-length': 7 } })
      const error = await errorOf(broker.declare([other]))
      expect(broker.errorCode(error)).toBe('ZYQ_TOPOLOGY')
      expect(String(error)).toMatch(new RegExp(`"${queue.name}".*x-max-length.*asked for 7.*has 5`))
      const { name } = await declared(broker)
      const classic = await errorOf(broker.declare([queueNamed(name, { queueType: 'classic' })]))
      expect(String(classic)).toMatch(/x-queue-type: asked for classic, it has quorum/)
      await store(broker, [message(queue, 'still works')])
      await receiveOne(consumer)
    })

    test('an exchange is not made for a queue that differs, nor a queue for an exchange that does', async () => {
      const broker = await openBroker(server.url)
      const amqp = await openAmqp(server.url)
      const queue = await declared(broker)
      const exchange = unique('x')
      const options = { exchange, arguments: { 'x-max-length': 1 } }
      expect(await codeOf(broker, broker.declare([queueNamed(queue.name, options)]))).toBe('ZYQ_TOPOLOGY')
      await expect(amqp.checkExchange(exchange)).rejects.toThrow(/no exchange/)
      const again = await openAmqp(server.url)
      await again.assertExchange(exchange, 'fanout')
      const name = unique()
      const error = await errorOf(broker.declare([queueNamed(name, { exchange, exchangeType: 'topic' })]))
      expect(String(error)).toMatch(/exchange ".*" exists already and differs in type: asked for topic, it has fanout/)
      await expect(again.checkQueue(name)).rejects.toThrow(/no queue/)
    })

    test('passive: nothing is made, and what is there is used as it is', async () => {
      const broker = await openBroker(server.url)
      const name = unique()
      const passive = queueNamed(name, { passive: true })
      expect(await codeOf(broker, broker.declare([passive]))).toBe('ZYQ_QUEUE_NOT_FOUND')
      const amqp = await openAmqp(server.url)
      await amqp.assertQueue(name, { durable: false, exclusive: false, arguments: { 'x-max-length': 3 } })
      await broker.declare([passive])
      await store(broker, [message(passive, 'job')])
      expect(bodyOf(await receiveOne(await consume(broker, [passive])))).toBe('job')
    })

    test('priorities are what the type of the queue says', async () => {
      const broker = await openBroker(server.url)
      expect(broker.capabilitiesOf?.(queueNamed('q')).priorities).toBe(1)
      expect(broker.capabilitiesOf?.(queueNamed('q', { queueType: 'classic' })).priorities).toBe(10)
      const two = { queueType: 'classic', arguments: { 'x-max-priority': 1 } }
      expect(broker.capabilitiesOf?.(queueNamed('q', two)).priorities).toBe(2)
    })

    test('unknown options are refused', async () => {
      const broker = await openBroker(server.url)
      for (const options of [
        { exchange: 5 },
        { exchangeType: 'round' },
        { routingKeys: 'a' },
        { exchange: 'x', exchangeType: 'headers', routingKeys: 'no-value' },
        { queueType: 'stream' },
        { speed: 'high' },
      ]) {
        expect(await errorOf(broker.declare([queueNamed('q', options)]))).toMatchObject({ code: 'ZYQ_CONFIG' })
      }
    })
  })
})

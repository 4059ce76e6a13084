import type { Broker, Delivery, QueueSpec } from '@zyqueue/core/broker'
import { freePort, startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  bodyOf,
  codeOf,
  consume,
  declared,
  errorOf,
  eventually,
  message,
  never,
  openBroker,
  openStranger,
  queueNamed,
  receive,
  receiveOne,
  store,
  unique,
} from './support.ts'

await describeWithServer('rabbitmq', 'on a real server', () => {
  let server: RabbitmqServer
  let managementPort: number
  beforeAll(async () => {
    managementPort = await freePort()
    server = await startRabbitmq({
      plugins: ['rabbitmq_management'],
      config: `management.tcp.port = ${managementPort}\ncollect_statistics_interval = 1000`,
    })
  })
  afterAll(() => server?.stop())

  /** A worker of a queue that nobody chose, on an exchange: it has a temporary one. */
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

    test('an exchange that is missing refuses its own jobs, and nobody else’s', async () => {
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
    test('one that differs says in what, and changes nothing', async () => {
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
      const stranger = await openStranger(server.url)
      const queue = await declared(broker)
      const exchange = unique('x')
      const options = { exchange, arguments: { 'x-max-length': 1 } }
      expect(await codeOf(broker, broker.declare([queueNamed(queue.name, options)]))).toBe('ZYQ_TOPOLOGY')
      await expect(stranger.checkExchange(exchange)).rejects.toThrow(/no exchange/)
      const again = await openStranger(server.url)
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
      const stranger = await openStranger(server.url)
      await stranger.assertQueue(name, { durable: false, exclusive: false, arguments: { 'x-max-length': 3 } })
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

    test('options that are none are told', async () => {
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

  describe('strangers', () => {
    test('plain JSON of any client is a job, with what its properties say', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const stranger = await openStranger(server.url)
      stranger.sendToQueue(queue.name, Buffer.from('{"file":"a.png"}'))
      stranger.sendToQueue(queue.name, Buffer.from('[1]'), {
        contentType: 'application/json; charset=utf-8',
        messageId: 'their id with spaces',
        correlationId: 'c-1',
        type: 'resize',
        priority: 200,
        timestamp: 1_700_000_000,
        headers: { 'X-Number': 7, nested: { a: [true] }, CC: [] },
        userId: 'guest',
      })
      const consumer = await consume(broker, [queue])
      const [bare, full] = await receive(consumer, 2)
      if (bare === undefined || full === undefined) throw new Error('two deliveries')
      expect(bodyOf(bare)).toEqual({ file: 'a.png' })
      expect({ ...bare.headers }).toEqual({})
      expect(bare.id).toMatch(/^[!-~]{1,63}$/)
      expect(full).toMatchObject({ priority: 9, storedAtMs: 1_700_000_000_000, deliveryCount: 0 })
      expect(full.id).toMatch(/^[\da-f]{40}$/)
      expect({ ...full.headers }).toEqual({
        'zyq-task': 'resize',
        'correlation-id': 'c-1',
        'x-number': '7',
        nested: '{"a":[true]}',
      })
      // To be released is to be published by us: what it was sent with is there, but for what only its sender may say.
      expect(await consumer.release([{ delivery: full, delayMs: 50 }])).toEqual([{ status: 'ok' }])
      const again = await receiveOne(consumer)
      expect({ ...again.headers }).toEqual({ ...full.headers })
      expect(again.id).toBe(full.id)
    })

    test('what its sender calls something else than JSON says so', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const stranger = await openStranger(server.url)
      const body = Buffer.from('1')
      stranger.sendToQueue(queue.name, body, { contentType: 'application/xml' })
      stranger.sendToQueue(queue.name, body, { contentEncoding: 'gzip' })
      stranger.sendToQueue(queue.name, body, { contentType: 'application/vnd.api+json', contentEncoding: 'UTF-8' })
      const deliveries = await receive(await consume(broker, [queue]), 3)
      expect(deliveries.map(({ undecodable }) => undecodable)).toEqual([
        'the content type is application/xml, not application/json',
        'the content encoding is gzip, not utf-8',
        undefined,
      ])
    })

    test('any client reads ours', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const headers = { 'zyq-task': 'resize', 'zyq-retries': '2', 'correlation-id': 'c-2' }
      const sent = message(queue, { file: 'ü' }, { headers, priority: 7 })
      await store(broker, [sent])
      const stranger = await openStranger(server.url)
      const got = await stranger.get(queue.name, { noAck: true })
      if (got === false) throw new Error('nothing there')
      expect(JSON.parse(got.content.toString())).toEqual({ file: 'ü' })
      expect(got.properties).toMatchObject({
        contentType: 'application/json',
        messageId: sent.id,
        type: 'resize',
        correlationId: 'c-2',
        priority: 7,
        deliveryMode: 2,
        headers: { 'zyq-retries': '2' },
      })
      expect(Math.abs(got.properties.timestamp * 1000 - Date.now())).toBeLessThan(60_000)
    })
  })

  describe('delays', () => {
    test('of mixed lengths, each comes in its time, none waits for a longer one', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const years = message(queue, 'years', { delayMs: 86_400_000 * 3650 })
      // Its hundred queues take some seconds to make.
      await eventually('ten years are taken', async () => (await broker.publish([years]))[0]?.status === 'stored')
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

    test('a delayed job of a queue that is deleted meanwhile is kept, and holds up nobody', async () => {
      const broker = await openBroker(server.url)
      const [deleted, other] = [await declared(broker), await declared(broker)]
      const stranger = await openStranger(server.url)
      await store(broker, [
        ...Array.from({ length: 100 }, (_, index) => message(deleted, index, { delayMs: 15_000 })),
        message(other, 'other', { delayMs: 15_000 }),
      ])
      expect(await stranger.deleteQueue(deleted.name)).toEqual({ messageCount: 0 })
      expect(bodyOf(await receiveOne(await consume(broker, [other])))).toBe('other')
      await eventually('check tells of the orphans', async () =>
        (await broker.admin.check()).some(({ message: text }) => text.startsWith('100 delayed jobs')),
      )
      await stranger.purgeQueue('zyqueue.orphans')
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

  describe('flow', () => {
    test('what core does not ask for goes to others, uncounted', async () => {
      const [busy, idle] = [await openBroker(server.url), await openBroker(server.url)]
      const queue = await declared(busy)
      await store(
        busy,
        Array.from({ length: 40 }, (_, index) => message(queue, index)),
      )
      const hoarder = await consume(busy, [queue])
      await receive(hoarder, 40)
      const queues = [queue, await declared(busy), await declared(busy), await declared(busy)]
      const shared = await consume(busy, queues)
      await store(
        busy,
        Array.from({ length: 40 }, (_, index) => message(queue, index)),
      )
      const few = await shared.receive(4, { signal: never })
      const others = await receive(await consume(idle, [queue]), 40 - few.length)
      expect(others.every(({ deliveryCount }) => deliveryCount === 0)).toBe(true)
    })

    test('a demand that falls in the middle of a stream counts nothing', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const bodies = Array.from({ length: 2_000 }, (_, index) => index)
      await store(
        broker,
        bodies.map((body) => message(queue, body)),
      )
      const consumer = await consume(broker, [queue], { prefetch: 1_000 })
      const seen: Delivery[] = []
      while (seen.length < 600) {
        // The demand grows, and with it the AMQP consumers.
        const held: Delivery[] = []
        for (const more of [1, 4, 20, 80]) held.push(...(await receive(consumer, more)))
        const [, one] = await Promise.all([consumer.ack(held), consumer.receive(1, { signal: never })])
        await consumer.ack(one)
        seen.push(...held, ...one)
      }
      await consumer.close()
      const heir = await consume(broker, [queue], { prefetch: 2_000 })
      seen.push(...(await receive(heir, bodies.length - seen.length)))
      expect(new Set(seen.map(bodyOf))).toEqual(new Set(bodies))
      expect(seen.filter(({ deliveryCount }) => deliveryCount > 0).map(bodyOf)).toEqual([])
    })

    test('a demand that falls while a queue is slow to take acknowledgements counts nothing', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const bodies = Array.from({ length: 300 }, (_, index) => index)
      await store(
        broker,
        bodies.map((body) => message(queue, body)),
      )
      const consumer = await consume(broker, [queue], { prefetch: 100 })
      const seen: Delivery[] = []
      for (const more of [1, 4, 20, 75]) seen.push(...(await receive(consumer, more)))
      const stranger = await openStranger(server.url)
      // The queue sleeps from here until a little after another one has been made.
      const alarm = unique('alarm')
      await server.ctl(
        'eval',
        `Find = fun(Name) -> rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, Name)) end,
         {ok, Queue} = Find(<<"${queue.name}">>),
         {Leader, _} = amqqueue:get_pid(Queue),
         Sleep = fun Sleep() -> timer:sleep(20), case Find(<<"${alarm}">>) of {ok, _} -> timer:sleep(100); _ -> Sleep() end end,
         ok = sys:suspend(Leader),
         spawn(fun() -> Sleep(), sys:resume(Leader) end),
         ok.`,
      )
      const settled = Promise.all([consumer.ack(seen), consumer.receive(1, { signal: never })])
      await stranger.assertQueue(alarm, { durable: false, autoDelete: true })
      const [, rest] = await settled
      await consumer.ack(rest)
      seen.push(...rest)
      await consumer.close()
      const heir = await consume(broker, [queue], { prefetch: 300 })
      seen.push(...(await receive(heir, bodies.length - seen.length)))
      expect(new Set(seen.map(bodyOf))).toEqual(new Set(bodies))
      expect(seen.filter(({ deliveryCount }) => deliveryCount > 0).map(bodyOf)).toEqual([])
    })
  })

  describe('administration', () => {
    test('another process lists the queues and the workers', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const consumer = await consume(broker, [queue], { client: { name: unique('worker'), host: 'there', pid: 7 } })
      await store(broker, [message(queue, 'held'), message(queue, 'ready')])
      await receiveOne(consumer)
      const other = await openBroker(server.url, `management=http://127.0.0.1:${managementPort}`)
      const stats = await eventually('the management API tells what is in hand', async () => {
        const found = (await other.admin.queues()).find(({ name }) => name === queue.name)
        return found?.active === 1 ? found : undefined
      })
      expect(stats).toMatchObject({ ready: 1, dead: 0, workers: 1 })
      expect(await other.admin.queues([queue.name])).toMatchObject([{ name: queue.name, ready: 1 }])
      await eventually('the worker is listed', async () =>
        (await other.admin.workers?.())?.some(
          ({ client, queues }) => client.host === 'there' && queues.join() === queue.name,
        ),
      )
    })

    test('a dead letter that has no place goes back uncounted, and holds up no other', async () => {
      const broker = await openBroker(server.url)
      const [placeless, sound] = [await declared(broker), await declared(broker)]
      const stranger = await openStranger(server.url)
      await stranger.assertQueue(`${placeless.name}.dead`, { durable: true, arguments: { 'x-max-length': 5 } })
      await store(broker, [message(placeless, 'placeless'), message(sound, 'sound')])
      const consumer = await consume(broker, [placeless, sound])
      const deliveries = await receive(consumer, 2)
      const rejections = deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_JOB_FAILED: no' }))
      const results = await consumer.reject(rejections)
      const resultOf = ({ name }: QueueSpec) => results[deliveries.findIndex(({ queue }) => queue === name)]
      expect(resultOf(sound)).toEqual({ status: 'ok' })
      expect(resultOf(placeless)).toMatchObject({ status: 'returned', error: { code: 'ZYQ_TOPOLOGY' } })
      expect((await broker.admin.deadLetters.list(sound.name, { limit: 9 })).map(bodyOf)).toEqual(['sound'])
      const again = await receiveOne(consumer)
      expect([bodyOf(again), again.deliveryCount]).toEqual(['placeless', 0])
    })

    test('two administrators at once see all, and take nothing from each other', async () => {
      const [one, two] = [await openBroker(server.url), await openBroker(server.url)]
      const queue = await declared(one)
      await store(
        one,
        Array.from({ length: 20 }, (_, index) => message(queue, index)),
      )
      const consumer = await consume(one, [queue])
      const deliveries = await receive(consumer, 20)
      await consumer.reject(deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_JOB_FAILED: no' })))
      const lists = await Promise.all(
        Array.from({ length: 6 }, (_, index) =>
          (index % 2 === 0 ? one : two).admin.deadLetters.list(queue.name, { limit: 50 }),
        ),
      )
      for (const list of lists) expect(list.map(bodyOf)).toEqual(Array.from({ length: 20 }, (_, index) => 19 - index))
      const counts = await Promise.all([
        one.admin.deadLetters.requeue(queue.name),
        two.admin.deadLetters.requeue(queue.name),
      ])
      expect(counts[0] + counts[1]).toBe(20)
      expect(await receive(consumer, 20)).toHaveLength(20)
    })
  })
})

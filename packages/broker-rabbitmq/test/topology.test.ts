import { readFileSync } from 'node:fs'
import type { Broker, Consumer, Delivery, QueueSpec } from '@zyqueue/core/broker'
import { freePort, startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
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
  openAmqp,
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

  describe('strangers', () => {
    test('plain JSON of any client is a job, with what its properties say', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const amqp = await openAmqp(server.url)
      amqp.sendToQueue(queue.name, Buffer.from('{"file":"a.png"}'))
      amqp.sendToQueue(queue.name, Buffer.from('[1]'), {
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
      // A release publishes a copy with the same properties, except the ones that only the first sender may set.
      expect(await consumer.release([{ delivery: full, delayMs: 50 }])).toEqual([{ status: 'ok' }])
      const again = await receiveOne(consumer)
      expect({ ...again.headers }).toEqual({ ...full.headers })
      expect(again.id).toBe(full.id)
    })

    test('a content type other than JSON is reported', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const amqp = await openAmqp(server.url)
      const body = Buffer.from('1')
      amqp.sendToQueue(queue.name, body, { contentType: 'application/xml' })
      amqp.sendToQueue(queue.name, body, { contentEncoding: 'gzip' })
      amqp.sendToQueue(queue.name, body, { contentType: 'application/vnd.api+json', contentEncoding: 'UTF-8' })
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
      const amqp = await openAmqp(server.url)
      const got = await amqp.get(queue.name, { noAck: true })
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

  describe('flow', () => {
    test('a worker with long jobs prefetches no more than core asks for', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      const busy = await consume(broker, [queue])
      await store(
        broker,
        Array.from({ length: 40 }, (_, index) => message(queue, index)),
      )
      const held = [...(await receive(busy, 2))]
      const amqp = await openAmqp(server.url)
      for (let round = 0; round < 3; round++) {
        expect(await amqp.checkQueue(queue.name)).toMatchObject({ messageCount: 38 - round })
        await busy.ack(held.splice(0, 1))
        held.push(...(await receive(busy, 1)))
      }
    })

    test.each([
      ['asks for nothing', async () => {}],
      ['closes', (consumer: Consumer) => consumer.close()],
    ])('prefetched jobs go to other workers, uncounted, when core %s', async (_, end) => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      await store(
        broker,
        Array.from({ length: 100 }, (_, index) => message(queue, index)),
      )
      const busy = await consume(broker, [queue])
      const held = [...(await receive(busy, 2)), ...(await receive(busy, 18))]
      const amqp = await openAmqp(server.url)
      // Core asks for more than twice the first number, so the worker prefetches.
      const { messageCount } = await amqp.checkQueue(queue.name)
      expect(messageCount).toBeLessThan(80)
      expect(await busy.ack(held)).toEqual(held.map(() => ({ status: 'ok' })))
      await end(busy)
      const others = await receive(await consume(await openBroker(server.url), [queue]), 80)
      expect(new Set([...held, ...others].map(bodyOf)).size).toBe(100)
      expect(others.every(({ deliveryCount }) => deliveryCount === 0)).toBe(true)
    })

    test('after it gave back jobs, a worker gets new ones when core asks again', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      await store(
        broker,
        Array.from({ length: 100 }, (_, index) => message(queue, index)),
      )
      const busy = await consume(broker, [queue])
      const held = [...(await receive(busy, 2)), ...(await receive(busy, 18))]
      const amqp = await openAmqp(server.url)
      await eventually('all others are back', async () => (await amqp.checkQueue(queue.name)).messageCount === 80)
      held.push(...(await receive(busy, 80)))
      expect(new Set(held.map(bodyOf)).size).toBe(100)
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
      const amqp = await openAmqp(server.url)
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
      await amqp.assertQueue(alarm, { durable: false, autoDelete: true })
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
      // What is prefetched is active, too.
      const client = { name: unique('worker'), host: 'there', pid: 7 }
      const consumer = await consume(broker, [queue], { client, prefetch: 1 })
      await store(broker, [message(queue, 'held'), message(queue, 'ready')])
      await receiveOne(consumer)
      const other = await openBroker(server.url, `management=http://127.0.0.1:${managementPort}`)
      const stats = await eventually('the management API reports the unacked job', async () => {
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

    test('many callers at once see the queues and workers, and publish nothing', async () => {
      const broker = await openBroker(server.url)
      const queue = await declared(broker)
      await consume(broker, [queue], { client: { name: 'seen', host: 'there', pid: 7 } })
      const amqp = await openAmqp(server.url)
      const records = async () => (await amqp.checkQueue('zyqueue.catalog')).messageCount
      const before = await records()
      const observers = await Promise.all(Array.from({ length: 30 }, () => openBroker(server.url)))
      const looks = await Promise.all(
        observers.flatMap((observer) => [observer.admin.queues(), observer.admin.queues()]),
      )
      for (const stats of looks) expect(stats.some(({ name }) => name === queue.name)).toBe(true)
      const workers = await Promise.all(observers.map(async (observer) => observer.admin.workers?.()))
      for (const list of workers) expect(list?.some(({ queues }) => queues.includes(queue.name))).toBe(true)
      // The server counts the records of the worker above a little later.
      expect((await records()) - before).toBeLessThan(observers.length)
    })

    test('check reports queues that drop jobs because of a policy or their arguments', async () => {
      const broker = await openBroker(server.url, `management=http://127.0.0.1:${managementPort}`)
      const dropping = await declared(broker, { arguments: { 'x-max-length': 5 } })
      const expiring = await declared(broker)
      const refusing = await declared(broker, { arguments: { 'x-max-length': 5, 'x-overflow': 'reject-publish' } })
      const policy = unique('policy')
      await server.ctl('set_policy', policy, `^${expiring.name}$`, '{"message-ttl":60000}', '--apply-to', 'queues')
      onTestFinished(async () => void (await server.ctl('clear_policy', policy)))
      const findings = await eventually('the management API knows the policy', async () => {
        const found = await broker.admin.check()
        return found.some(({ message: text }) => text.includes(expiring.name)) ? found : undefined
      })
      const messageFor = ({ name }: QueueSpec) =>
        findings.find(({ message: text }) => text.includes(`"${name}"`))?.message
      expect(messageFor(dropping)).toContain('max-length 5')
      expect(messageFor(expiring)).toContain('message-ttl 60000')
      expect(messageFor(refusing)).toBeUndefined()
    })

    test('the permissions of the README suffice for a queue with retries and dead letters, and for its administration', async () => {
      const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
      const line = /rabbitmqctl set_permissions (.*)/.exec(readme)?.[1] ?? ''
      const [configure = '', write = '', read = ''] = [...line.matchAll(/'([^']+)'/g)].map((match) => match[1])
      const user = unique('user')
      const queue = queueNamed('emails')
      await server.ctl('add_user', user, 'secret')
      await server.ctl('set_permissions', user, configure, write, read)
      const url = new URL(server.url)
      url.username = user
      url.password = 'secret'
      const broker = await openBroker(url.href)
      await broker.declare([queue])
      await store(broker, [message(queue, 'retried'), message(queue, 'rejected', { delayMs: 60 })])
      const consumer = await consume(broker, [queue])
      const jobs = await receive(consumer, 2)
      const [retried, rejected] = ['retried', 'rejected'].map((body) => jobs.filter((job) => bodyOf(job) === body))
      expect(await consumer.release(retried?.map((delivery) => ({ delivery, delayMs: 60 })) ?? [])).toEqual([
        { status: 'ok' },
      ])
      expect(await consumer.reject(rejected?.map((delivery) => ({ delivery, reason: 'ZYQ_TEST' })) ?? [])).toEqual([
        { status: 'ok' },
      ])
      expect(bodyOf(await receiveOne(consumer))).toBe('retried')
      expect(await broker.admin.deadLetters.list(queue.name, { limit: 5 })).toHaveLength(1)
      expect(await broker.admin.queues()).toContainEqual(expect.objectContaining({ name: queue.name, dead: 1 }))
      expect(await broker.admin.workers?.()).toContainEqual(expect.objectContaining({ queues: [queue.name] }))
      expect(await broker.admin.purge(queue.name)).toBe(0)
      // Another queue is not allowed.
      expect(await codeOf(broker, broker.declare([queueNamed(unique())]))).toBe('ZYQ_AUTH')
    })

    test('a refused dead letter returns uncounted, and does not affect others', async () => {
      const broker = await openBroker(server.url)
      const [placeless, sound] = [await declared(broker), await declared(broker)]
      const amqp = await openAmqp(server.url)
      await amqp.deleteQueue(`${placeless.name}.dead`)
      await amqp.assertQueue(`${placeless.name}.dead`, {
        durable: true,
        arguments: { 'x-max-length': 0, 'x-overflow': 'reject-publish' },
      })
      await store(broker, [message(placeless, 'placeless'), message(sound, 'sound')])
      const consumer = await consume(broker, [placeless, sound])
      const deliveries = await receive(consumer, 2)
      const rejections = deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_JOB_FAILED: no' }))
      const results = await consumer.reject(rejections)
      const resultOf = ({ name }: QueueSpec) => results[deliveries.findIndex(({ queue }) => queue === name)]
      expect(resultOf(sound)).toEqual({ status: 'ok' })
      expect(resultOf(placeless)).toMatchObject({ status: 'returned', error: { code: 'ZYQ_BROKER_FULL' } })
      expect((await broker.admin.deadLetters.list(sound.name, { limit: 9 })).map(bodyOf)).toEqual(['sound'])
      const again = await receiveOne(consumer)
      expect([bodyOf(again), again.deliveryCount]).toEqual(['placeless', 0])
    })

    test('two administrators at once see all dead letters', async () => {
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

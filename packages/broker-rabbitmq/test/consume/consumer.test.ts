import type { Consumer, Delivery } from '@zyqueue/core/broker'
import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  bodyOf,
  consume,
  declared,
  eventually,
  message,
  never,
  openAmqp,
  openBroker,
  queueNamed,
  receive,
  receiveOne,
  store,
  unique,
} from '../support.ts'

await describeWithServer('rabbitmq', 'a consumer', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq()
  })
  afterAll(() => server?.stop())

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

  test('a queue with a single active consumer fills the demand of a worker with several queues', async () => {
    const broker = await openBroker(server.url)
    const single = await declared(broker, { arguments: { 'x-single-active-consumer': true } })
    const consumer = await consume(broker, [await declared(broker), single, await declared(broker)])
    await store(
      broker,
      Array.from({ length: 20 }, (_, index) => message(single, index)),
    )
    expect(await receive(consumer, 10)).toHaveLength(10)
  })

  test('a consumer with a prefetch of 1 holds one job of all its queues', async () => {
    const broker = await openBroker(server.url)
    const queues = [await declared(broker), await declared(broker), await declared(broker)]
    await store(
      broker,
      queues.map((queue) => message(queue, queue.name)),
    )
    const consumer = await consume(broker, queues, { prefetch: 1 })
    const first = await receiveOne(consumer)
    const amqp = await openAmqp(server.url)
    const ready = async () => {
      const counts = await Promise.all(queues.map(({ name }) => amqp.checkQueue(name)))
      return counts.reduce((sum, { messageCount }) => sum + messageCount, 0)
    }
    expect(await ready()).toBe(2)
    const seen = [bodyOf(first)]
    expect(await consumer.ack([first])).toEqual([{ status: 'ok' }])
    for (let rest = 1; rest >= 0; rest--) {
      const next = await receiveOne(consumer)
      seen.push(bodyOf(next))
      expect(await ready()).toBe(rest)
      await consumer.ack([next])
    }
    expect(new Set(seen).size).toBe(3)
  })

  test('the jobs of a consumer that fails go to others at once, while core asks it for nothing', async () => {
    const broker = await openBroker(server.url)
    const amqp = await openAmqp(server.url)
    const passive = queueNamed(unique(), { passive: true })
    await amqp.assertQueue(passive.name, { durable: true })
    const queue = await declared(broker)
    const failing = await consume(broker, [passive, queue])
    await store(broker, [message(queue, 'held')])
    const held = await receiveOne(failing)
    await amqp.deleteQueue(passive.name)
    const other = await consume(await openBroker(server.url), [queue])
    expect(bodyOf(await receiveOne(other))).toBe('held')
    expect(await failing.ack([held])).toMatchObject([{ status: expect.stringMatching(/unknown|lease-lost/) }])
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

import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { claim } from '../src/scripts/claim.ts'
import {
  consume,
  eventually,
  message,
  messages,
  never,
  newQueue,
  openBroker,
  openClient,
  receive,
  times,
} from './support.ts'

const LOST = { status: 'lease-lost' }
const OK = { status: 'ok' }

await describeWithServer('redis', 'queues', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  const open = async () => {
    const broker = await openBroker(server.url)
    return { broker, queue: await newQueue(broker) }
  }

  test('jobs of any priority and past keep their order within a priority', async () => {
    const { broker, queue } = await open()
    const consumer = await consume(broker, [queue])
    await broker.publish([message(queue, 'a'), message(queue, 'b'), message(queue, 'c')])
    const [a, b, c] = await receive(consumer, 3)
    if (a === undefined || b === undefined || c === undefined) throw new Error('nothing received')
    await broker.publish([
      message(queue, 'd'),
      message(queue, 'high-1', { priority: 9 }),
      message(queue, 'low', { priority: 0 }),
      message(queue, 'high-2', { priority: 9 }),
    ])
    // In the wrong order, and after others have come.
    await consumer.release([{ delivery: c, delayMs: 0 }])
    await consumer.release([
      { delivery: a, delayMs: 0 },
      { delivery: b, delayMs: 0 },
    ])
    const expected = ['high-1', 'high-2', 'a', 'b', 'c', 'd', 'low']
    expect((await broker.admin.jobs(queue, { limit: 100 })).map(({ id }) => id)).toEqual(expected)
    expect((await receive(consumer, 7)).map(({ id }) => id)).toEqual(expected)
  })

  test('a batch may hold jobs for many queues, bad ones among them', async () => {
    const { broker, queue } = await open()
    const other = await newQueue(broker)
    const results = await broker.publish([
      message(queue, 'one'),
      message(other, 'two'),
      message(queue, 'no\nid'),
      message(queue, 'large', { body: Buffer.alloc(16 * 1024 * 1024 + 1) }),
      message(other, 'three', { priority: 7, delayMs: 60_000 }),
    ])
    expect(results.map(({ status }) => status)).toEqual(['stored', 'stored', 'refused', 'refused', 'stored'])
    const stats = await broker.admin.queues()
    expect(stats.find(({ name }) => name === queue)).toMatchObject({ ready: 1, delayed: 0 })
    expect(stats.find(({ name }) => name === other)).toMatchObject({ ready: 1, delayed: 1 })
  })

  test('an id is stored once, in whatever company it comes again, and after it was done', async () => {
    const { broker, queue } = await open()
    const ids = Array.from(
      { length: 40 },
      (_, index) => `0mabcdefgh0123456789${(32_750 + index).toString(36).padStart(8, '0')}`,
    )
    const batch = ids.map((id) => message(queue, id))
    await broker.publish(batch.slice(10, 20))
    await broker.publish([...batch.slice(0, 15), message(queue, 'foreign'), ...batch.slice(15)])
    await broker.publish([message(queue, 'foreign'), message(queue, 'foreign'), ...batch.toReversed()])
    const consumer = await consume(broker, [queue])
    const deliveries = await receive(consumer, 41)
    expect(deliveries.map(({ id }) => id).toSorted()).toEqual([...ids, 'foreign'].toSorted())
    expect(await consumer.ack(deliveries)).toEqual(times(41, OK))
    await broker.publish(batch)
    expect(await consumer.receive(1, { signal: never })).toEqual([])
  })

  test('a late owner is fenced although the same job has come back to others, and again to others', async () => {
    const { broker, queue } = await open()
    await broker.publish(messages(queue, 3))
    const late = await consume(broker, [queue], { consumerId: 'late-owner' })
    const stale = await receive(late, 3)
    expect(await broker.leases.renew(['late-owner'], 200)).toEqual([])
    const heir = await consume(broker, [queue], { leaseMs: 60_000 })
    const again = await receive(heir, 3)
    expect(again.map(({ id, deliveryCount }) => [id, deliveryCount])).toEqual(stale.map(({ id }) => [id, 1]))
    expect(await late.ack(stale.slice(0, 1))).toEqual([LOST])
    expect(await late.release(stale.slice(1, 2).map((delivery) => ({ delivery, delayMs: 0 })))).toEqual([LOST])
    expect(await late.reject(stale.slice(2).map((delivery) => ({ delivery, reason: 'ZYQ_TEST' })))).toEqual([LOST])
    expect(await heir.ack(stale)).toEqual([LOST, LOST, LOST])
    await late.close()
    expect(await heir.ack(again)).toEqual([OK, OK, OK])
  })

  test('a consumer that waits takes what a lease gives back in another of its queues', async () => {
    const { broker, queue } = await open()
    const other = await newQueue(broker)
    await broker.publish(messages(queue, 2))
    await receive(await consume(broker, [queue], { consumerId: 'short-lived' }), 2)
    expect(await broker.leases.renew(['short-lived'], 300)).toEqual([])
    const heir = await consume(await openBroker(server.url), [other, queue])
    expect(await receive(heir, 2)).toHaveLength(2)
  })

  test('many workers that wait share what comes, and each job wakes one', async () => {
    const { broker, queue } = await open()
    const workers = await Promise.all(
      Array.from({ length: 4 }, async () => consume(await openBroker(server.url), [queue], { prefetch: 1 })),
    )
    const taking = workers.map((worker) => receive(worker, 1))
    await broker.publish(messages(queue, 4))
    const taken = (await Promise.all(taking)).flat()
    expect(taken.map(({ id }) => id).toSorted()).toEqual(messages(queue, 4).map(({ id }) => id))
  })

  test('jobs lists what is held, ready and delayed, and when', async () => {
    const { broker, queue } = await open()
    await broker.publish(messages(queue, 3))
    await broker.publish([message(queue, 'later', { delayMs: 60_000, headers: { note: 'x' } })])
    await receive(await consume(broker, [queue], { prefetch: 1 }), 1)
    const jobs = await broker.admin.jobs(queue, { limit: 10 })
    expect(jobs.map(({ id, state }) => [id, state])).toEqual([
      [`${queue}-0`, 'active'],
      [`${queue}-1`, 'ready'],
      [`${queue}-2`, 'ready'],
      ['later', 'delayed'],
    ])
    expect(jobs[3]?.headers).toMatchObject({ note: 'x' })
    expect(Math.abs((jobs[3]?.readyAtMs ?? 0) - Date.now() - 60_000)).toBeLessThan(50_000)
    expect(String(jobs[1]?.body)).toBe(`body of ${queue}-1`)
    expect(await broker.admin.jobs(queue, { limit: 2 })).toHaveLength(2)
    await expect(broker.admin.jobs('nowhere', { limit: 1 })).rejects.toMatchObject({ code: 'ZYQ_QUEUE_NOT_FOUND' })
  })

  test('cancel deletes what waits by its id, wherever it stands, and nothing that is held', async () => {
    const { broker, queue } = await open()
    const count = 2500
    for (let start = 0; start < count; start += 500)
      await broker.publish(messages(queue, count).slice(start, start + 500))
    await broker.publish([message(queue, 'high', { priority: 8 }), message(queue, 'later', { delayMs: 60_000 })])
    const consumer = await consume(broker, [queue], { prefetch: 1 })
    expect((await receive(consumer, 1)).map(({ id }) => id)).toEqual(['high'])
    const ids = ['high', 'later', 'nobody', `${queue}-0`, `${queue}-1234`, `${queue}-1235`, `${queue}-${count - 1}`]
    expect(await broker.admin.cancel(queue, ids)).toBe(5)
    expect(await broker.admin.cancel(queue, ids)).toBe(0)
    expect(await broker.admin.queues()).toContainEqual(
      expect.objectContaining({ name: queue, ready: count - 4, delayed: 0, active: 1 }),
    )
    const left = (await broker.admin.jobs(queue, { limit: count })).map(({ id }) => id)
    expect(ids.filter((id) => left.includes(id))).toEqual(['high'])
    await expect(broker.admin.cancel('nowhere', ['a'])).rejects.toMatchObject({ code: 'ZYQ_QUEUE_NOT_FOUND' })
  })

  test('compact takes back what is held without a lease, and leaves what is under one', async () => {
    const { broker, queue } = await open()
    await broker.publish(messages(queue, 5))
    const consumer = await consume(broker, [queue], { prefetch: 2 })
    const held = await receive(consumer, 2)
    await receive(await consume(broker, [queue], { consumerId: 'orphan', prefetch: 2 }), 2)
    const client = openClient(server.url)
    await client.zrem(`zyqueue:{${queue}}:leases`, 'orphan')
    await client.sadd(`zyqueue:{${queue}}:waiters`, 'ghost')
    expect(await broker.admin.compact(queue)).toBe(2)
    expect(await broker.admin.compact(queue)).toBe(0)
    expect(await client.scard(`zyqueue:{${queue}}:waiters`)).toBe(0)
    expect(await consumer.ack(held)).toEqual([OK, OK])
    const again = await receive(await consume(broker, [queue]), 3)
    expect(again.map(({ deliveryCount }) => deliveryCount)).toEqual([1, 1, 0])
    await expect(broker.admin.compact('nowhere')).rejects.toMatchObject({ code: 'ZYQ_QUEUE_NOT_FOUND' })
  })

  test('thousands of dead letters go back, and out, in portions', async () => {
    const { broker, queue } = await open()
    const count = 2300
    for (let start = 0; start < count; start += 1000) {
      await broker.publish(messages(queue, count).slice(start, start + 1000))
    }
    const consumer = await consume(broker, [queue], { prefetch: count })
    const bury = async (): Promise<void> => {
      const deliveries = await receive(consumer, count)
      await consumer.reject(deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_TEST: dead' })))
    }
    await bury()
    expect(await broker.admin.deadLetters.requeue(queue)).toBe(count)
    await bury()
    expect(await broker.admin.deadLetters.list(queue, { limit: 3 })).toHaveLength(3)
    expect(await broker.admin.deadLetters.purge(queue)).toBe(count)
    expect(await broker.admin.queues()).toContainEqual(expect.objectContaining({ name: queue, ready: 0, dead: 0 }))
  })

  test('nothing is left of jobs that are done, but what remembers their ids, and that expires', async () => {
    const own = await startRedis()
    try {
      const broker = await openBroker(own.url)
      const queue = await newQueue(broker)
      await broker.publish(messages(queue, 50))
      await broker.publish([message(queue, 'high', { priority: 9 }), message(queue, 'soon', { delayMs: 1 })])
      const consumer = await consume(broker, [queue])
      await consumer.ack(await receive(consumer, 52))
      await consumer.close()
      const client = openClient(own.url)
      const left = (await client.keys('*')).filter((key) => !key.includes(':seen:'))
      expect(left.toSorted()).toEqual(['zyqueue:queues', `zyqueue:{${queue}}:order`])
      const seen = (await client.keys('*')).filter((key) => key.includes(':seen:'))
      for (const key of seen) expect(await client.pttl(key)).toBeGreaterThan(0)
    } finally {
      await own.stop()
    }
  })

  test('a wake-up that nobody heard costs a second, not the job', async () => {
    const { broker, queue } = await open()
    const consumer = await consume(broker, [queue])
    expect(await consumer.receive(1, { signal: never })).toEqual([])
    // As if the server had told somebody who is gone.
    await openClient(server.url).del(`zyqueue:{${queue}}:waiters`)
    await broker.publish(messages(queue, 1))
    expect(await receive(consumer, 1)).toHaveLength(1)
  })

  test('large jobs come in answers of a bounded size, in their order, and the rest goes to others', async () => {
    const { broker, queue } = await open()
    const body = Buffer.alloc(1024 * 1024)
    const ids = Array.from({ length: 24 }, (_, index) => `large-${index}`)
    for (const id of ids.slice(0, 20)) await broker.publish([message(queue, id, { body })])
    for (const id of ids.slice(20)) await broker.publish([message(queue, id, { body, priority: 1 })])
    const consumer = await consume(broker, [queue])
    const first = await consumer.receive(24, { signal: never })
    expect(first.length).toBeGreaterThan(4)
    expect(first.length).toBeLessThan(9)
    const all = [...first, ...(await receive(consumer, 24 - first.length))]
    expect(all.map(({ id }) => id)).toEqual(ids)
    expect(await consumer.ack(all)).toEqual(times(24, OK))
    await broker.publish([message(queue, 'larger', { body: Buffer.alloc(16 * 1024 * 1024) })])
    expect(await receive(consumer, 1)).toHaveLength(1)
  })

  test('a claim that comes late, after a newer one, gets nothing', async () => {
    const { broker, queue } = await open()
    await broker.publish(messages(queue, 4))
    const consumer = await consume(broker, [queue], { consumerId: 'late-claims' })
    expect(await receive(consumer, 2)).toHaveLength(2)
    const keys = ['ready', 'sorted', 'delayed', 'order', 'waiters', 'leases', 'held:late-claims']
    const client = openClient(server.url)
    const late = async (number: number, since: number) => {
      const names = keys.map((key) => `zyqueue:{${queue}}:${key}`)
      const reply = await client.evalsha(claim.sha, names.length, ...names, 'late-claims', number, since, 9, 'wake:')
      const [[, , , jobs]] = z.tuple([z.tuple([z.number(), z.number(), z.string(), z.array(z.string())])]).parse(reply)
      return jobs.length
    }
    expect(await late(1, 1)).toBe(0)
    // Of claims that had no answer, the newest has what they got.
    expect(await late(50, 50)).toBe(2)
    expect(await late(51, 50)).toBe(2)
    expect(await late(50, 50)).toBe(0)
    expect(await late(52, 52)).toBe(0)
  })

  test('a delay is over without anybody else doing anything', async () => {
    const { broker, queue } = await open()
    const consumer = await consume(broker, [queue])
    const receiving = receive(consumer, 2)
    await broker.publish([message(queue, 'first', { delayMs: 200 }), message(queue, 'second', { delayMs: 400 })])
    expect((await receiving).map(({ id }) => id)).toEqual(['first', 'second'])
    await eventually('nothing is left', async () =>
      (await broker.admin.queues()).some(({ name, delayed }) => name === queue && delayed === 0),
    )
  })
})

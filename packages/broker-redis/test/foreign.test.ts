/** Values that another program, or a newer version, writes into the keys of a queue: they become dead letters, and jobs still run. */
import { createLogger, createWorker, queueJob, type Logger } from '@zyqueue/core'
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import redis from '../src/index.ts'
import { Keys, type QueueKeys } from '../src/keys.ts'
import { consume, eventually, message, messages, never, newQueue, openBroker, openClient, receive } from './support.ts'

const JSON_TEXT = '{"task":"resize","data":[1,2,3],"and":"more than eighteen bytes"}'
/** A value with the size of a job's head. The lengths in it are larger than the value. */
const HEAD_ONLY = String.fromCharCode(4).padEnd(18, '\u007f')

/** A job of format 1 with the priority 4, 3 deliveries, the order 5 and the id `ab`. Format 0 would find an id of 66 bytes. */
const NEWER_JOB = `\u0004\u0003\0\0\0\0\0\u0005${'\0'.repeat(6)}${String.fromCharCode(64 + 2)}\0\0\0ab${'body'.repeat(30)}`

/** The ways in which another program can store a value that a consumer then claims. */
const PLACES: readonly (readonly [string, (client: Redis, keys: QueueKeys, value: string) => Promise<unknown>])[] = [
  ['the list of ready jobs', (client, { ready }, value) => client.lpush(ready, value)],
  ['the sorted set of ready jobs', (client, { sorted }, value) => client.zadd(sorted, 1, value)],
  ['the end of the sorted set', (client, { sorted }, value) => client.zadd(sorted, 2 ** 52, value)],
  ['the delayed jobs', (client, { delayed }, value) => client.zadd(delayed, 1, value)],
  [
    'the jobs of a consumer with an expired lease',
    async (client, { held, leases }, value) => {
      await client.hset(held('gone'), 'any field', value)
      await client.zadd(leases, 1, 'gone')
    },
  ],
]

const VALUES = [
  ['JSON', JSON_TEXT],
  ['three bytes', 'abc'],
  ['an empty string', ''],
  ['a head alone', HEAD_ONLY],
  ['a job of a newer format', NEWER_JOB],
] as const

await describeWithServer('redis', 'a value of another program', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  const open = async () => {
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    return { broker, queue, client: openClient(server.url), keys: new Keys('zyqueue').of(queue) }
  }

  const cases = PLACES.flatMap(([place, plant]) => VALUES.map(([what, value]) => ({ place, plant, what, value })))
  test.each(cases)('$what in $place becomes a dead letter with unchanged bytes', async ({ plant, value }) => {
    const { broker, queue, client, keys } = await open()
    const other = await newQueue(broker)
    await broker.publish([message(queue, 'due', { delayMs: 1 }), message(queue, 'high', { priority: 9 })])
    await broker.publish([...messages(queue, 2), message(other, 'other')])
    await plant(client, keys, value)
    const consumer = await consume(broker, [queue, other])
    const deliveries = await receive(consumer, 6)
    const [unreadable, ...more] = deliveries.filter((delivery) => delivery.undecodable !== undefined)
    if (unreadable === undefined || more.length > 0) throw new Error('expected one unreadable job')
    expect(deliveries.map(({ id }) => id).toSorted()).toEqual(
      ['due', 'high', 'other', `${queue}-0`, `${queue}-1`, unreadable.id].toSorted(),
    )
    expect(Buffer.from(unreadable.body).toString('latin1')).toBe(value)
    const reason = `ZYQ_DECODE: ${unreadable.undecodable}`
    expect(await consumer.reject([{ delivery: unreadable, reason, headers: { any: 'header' } }])).toEqual([
      { status: 'ok' },
    ])
    const [letter] = await broker.admin.deadLetters.list(queue, { limit: 10 })
    expect(letter).toMatchObject({ id: unreadable.id, queue, reason, headers: {} })
    expect(Buffer.from(letter?.body ?? []).toString('latin1')).toBe(value)
  })

  test('is delivered again after its consumer closes, and after a requeue', async () => {
    const { broker, queue, client, keys } = await open()
    await client.rpush(keys.ready, JSON_TEXT, JSON_TEXT)
    const first = await consume(broker, [queue])
    const [one] = await receive(first, 2)
    if (one === undefined) throw new Error('nothing received')
    expect(await first.release([{ delivery: one, delayMs: 600_000, headers: { any: 'header' } }])).toEqual([
      { status: 'ok' },
    ])
    await first.close()
    const second = await consume(broker, [queue])
    const both = await receive(second, 2)
    expect(both.map(({ body }) => Buffer.from(body).toString())).toEqual([JSON_TEXT, JSON_TEXT])
    await second.reject(both.map((delivery) => ({ delivery, reason: 'ZYQ_DECODE: a test' })))
    const ids = both.map(({ id }) => id)
    expect(await broker.admin.deadLetters.requeue(queue, [...ids.slice(0, 1), ...ids.slice(0, 1)])).toBe(1)
    expect(await broker.admin.deadLetters.purge(queue, ids)).toBe(1)
    expect((await receive(second, 1)).map(({ body }) => Buffer.from(body).toString())).toEqual([JSON_TEXT])
  })

  test('is listed with the jobs, and jobs can be counted, cancelled and reclaimed', async () => {
    const { broker, queue, client, keys } = await open()
    await broker.publish([...messages(queue, 3), message(queue, 'later', { delayMs: 600_000 })])
    await client.rpush(keys.ready, 'abc')
    await client.zadd(keys.delayed, Date.now() + 600_000, 'def')
    await client.hset(keys.held('gone'), 'any', 'ghi')
    await client.zadd(keys.leases, 1, 'gone')
    const jobs = await broker.admin.jobs(queue, { limit: 100 })
    expect(jobs.map(({ id, state }) => [id, state])).toEqual([
      ['unreadable', 'active'],
      [`${queue}-0`, 'ready'],
      [`${queue}-1`, 'ready'],
      [`${queue}-2`, 'ready'],
      ['unreadable', 'ready'],
      ['later', 'delayed'],
      ['unreadable', 'delayed'],
    ])
    expect(await broker.admin.cancel(queue, ['later', `${queue}-1`, 'unreadable'])).toBe(2)
    await broker.leases.reclaim('gone', [{ id: 'ghi' }])
    expect(await broker.admin.compact(queue)).toBe(1)
    expect(await broker.admin.queues()).toContainEqual(
      expect.objectContaining({ name: queue, ready: 4, delayed: 1, active: 0 }),
    )
  })

  test('of a newer format has a reason that says so, and is never changed', async () => {
    const { broker, queue, client, keys } = await open()
    await client.rpush(keys.ready, NEWER_JOB)
    const consumer = await consume(broker, [queue])
    const take = async () => {
      const [delivery] = await receive(consumer, 1)
      if (delivery === undefined) throw new Error('nothing received')
      expect(Buffer.from(delivery.body).toString('latin1')).toBe(NEWER_JOB)
      return delivery
    }
    const delivery = await take()
    expect(delivery.undecodable).toMatch(/has format 1, .* reads format 0\. Update it, then requeue the dead letter/)
    await consumer.release([{ delivery, delayMs: 0 }])
    await consumer.reject([{ delivery: await take(), reason: `ZYQ_DECODE: ${delivery.undecodable}` }])
    expect(await broker.admin.deadLetters.list(queue, { limit: 1 })).toMatchObject([
      { reason: expect.stringContaining('has format 1'), body: Buffer.from(NEWER_JOB) },
    ])
    expect(await broker.admin.deadLetters.requeue(queue)).toBe(1)
    await take()
  })

  test('of a newer format among the dead letters is requeued unchanged, also if it looks like a job', async () => {
    const { broker, queue, client, keys } = await open()
    const letter = `\u0001\u0003\0\0\0\0\0\u0005${'\0'.repeat(6)}\u0002\0\0\0ab`
    await client.hset(keys.dead, 'newer', letter)
    await client.zadd(keys.died, 1, 'newer')
    expect(await broker.admin.deadLetters.list(queue, { limit: 1 })).toMatchObject([
      { id: 'newer', reason: expect.stringMatching(/newer version/), body: Buffer.from(letter) },
    ])
    expect(await broker.admin.deadLetters.requeue(queue)).toBe(1)
    expect(await client.lrange(keys.ready, 0, -1)).toEqual([letter])
  })

  test('among the dead letters is listed, purged and requeued', async () => {
    const { broker, queue, client, keys } = await open()
    await client.hset(keys.dead, 'short', 'ab', 'long', 'abcdefgh', 'lasting', 'x')
    await client.zadd(keys.died, 1, 'short', 2, 'long', 3, 'lasting')
    const letters = await broker.admin.deadLetters.list(queue, { limit: 10 })
    expect(letters.map(({ id, body }) => [id, Buffer.from(body).toString()])).toEqual([
      ['lasting', 'x'],
      ['long', 'abcdefgh'],
      ['short', 'ab'],
    ])
    expect(await broker.admin.deadLetters.purge(queue, ['lasting'])).toBe(1)
    expect(await broker.admin.deadLetters.requeue(queue)).toBe(2)
    const deliveries = await receive(await consume(broker, [queue]), 2)
    expect(deliveries.every(({ undecodable }) => undecodable !== undefined)).toBe(true)
    expect(deliveries.map(({ body }) => Buffer.from(body).toString()).toSorted()).toEqual(['ab', 'abcdefgh'])
  })

  test('in place of the record of the last claim is ignored', async () => {
    const { broker, queue, client, keys } = await open()
    const consumer = await consume(broker, [queue], { consumerId: 'claiming' })
    await broker.publish([message(queue, 'a')])
    await client.hset(keys.held('claiming'), '', 'abc')
    expect((await receive(consumer, 1)).map(({ id }) => id)).toEqual(['a'])
  })

  test.each(['sorted', 'delayed', 'order', 'ready'] as const)(
    'of the wrong type in place of %s stops only its queue, until it is deleted',
    async (name) => {
      const { broker, queue, client, keys } = await open()
      const other = await newQueue(broker)
      const consumer = await consume(broker, [queue, other])
      await client.hset(keys[name], 'a', 'b')
      if (name !== 'ready') await client.rpush(keys.ready, 'abc')
      await broker.publish([message(other, 'one')])
      expect((await receive(consumer, 1)).map(({ id }) => id)).toEqual(['one'])
      await eventually('the error is reported when there are no jobs', async () => {
        const error: unknown = await consumer.receive(1, { signal: never }).catch((error: unknown) => error)
        return broker.errorCode(error) === 'ZYQ_STORAGE_FOREIGN'
      })
      await broker.publish([message(other, 'two')])
      await eventually('the other queue works', async () => {
        const deliveries = await consumer.receive(1, { signal: never }).catch(() => [])
        return deliveries.some(({ id }) => id === 'two')
      })
      await client.del(keys[name])
      if (name === 'ready') await client.rpush(keys.ready, 'abc')
      expect((await receive(consumer, 1)).map(({ body }) => Buffer.from(body).toString())).toEqual(['abc'])
    },
  )

  test('that stops its queue is reported, also while another queue always has jobs', async () => {
    const { broker, queue, client, keys } = await open()
    const other = await newQueue(broker)
    const consumer = await consume(broker, [queue, other])
    await client.hset(keys.ready, 'a', 'b')
    let [published, received] = [0, 0]
    await eventually('the error', async () => {
      await broker.publish(Array.from({ length: 3 }, () => message(other, `job-${published++}`)))
      try {
        received += (await consumer.receive(1, { signal: never })).length
        return false
      } catch (error) {
        return broker.errorCode(error) === 'ZYQ_STORAGE_FOREIGN'
      }
    })
    expect(received).toBeGreaterThan(0)
    const rest = await receive(consumer, Math.min(published - received, 900))
    expect(rest[0]?.id).toBe(`job-${received}`)
  })

  test('that stops its queue does not interrupt running jobs of other queues', async () => {
    const { broker, queue, client, keys } = await open()
    const healthy = await newQueue(broker)
    const started: unknown[] = []
    const failures: unknown[] = []
    let end = (): void => {}
    const ended = new Promise<void>((resolve) => (end = resolve))
    const task = (name: string) =>
      queueJob({ name, server: redis, connection: server.url }, async (_worker, job) => {
        started.push(job.data)
        if (job.data === 'long') await ended
      })
    const [long, stopped] = [task(healthy), task(queue)]
    const logger = createLogger({ destination: { write: () => {} } })
    const recordingLogger: Logger = {
      ...logger,
      warn: (fields) => failures.push(fields),
      error: (fields) => failures.push(fields),
    }
    const worker = createWorker({ tasks: [long, stopped], logger: recordingLogger, stallMs: 3_000 })
    onTestFinished(() => worker.close())
    await worker.start()
    await long.submit('long')
    await eventually('it runs', () => started.length === 1)
    await client.hset(keys.ready, 'a', 'b')
    await eventually('the failure is logged', () => failures.length > 0)
    expect(failures).toMatchObject([{ err: { code: 'ZYQ_STORAGE_FOREIGN' } }])
    await eventually('the healthy queue works while the failure is repeated', async () => {
      await long.submit('short')
      return failures.length > 1
    })
    end()
    await eventually('all are done', () => worker.status.running === 0 && worker.status.waiting === 0)
    expect(started.filter((data) => data === 'long')).toHaveLength(1)
    expect(started).toContain('short')
  })
})

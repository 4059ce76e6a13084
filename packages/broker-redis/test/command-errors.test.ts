/** Errors of commands name the key and the queue, and say what to do in Redis. */
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { RedisBroker } from '../src/broker.ts'
import { Keys } from '../src/keys.ts'
import { consume, message, never, newQueue, openBroker, openClient } from './support.ts'

/** The code and the message of a call that rejects, or of a publish that is refused. */
async function errorOf(broker: RedisBroker, call: () => Promise<unknown>): Promise<{ code: string; message: string }> {
  const error: unknown = await call().then(
    (value) => (Array.isArray(value) ? Object(value[0]).error : value),
    (thrown: unknown) => thrown,
  )
  return { code: broker.errorCode(error), message: error instanceof Error ? error.message : String(error) }
}

await describeWithServer('redis', 'a command that is refused', () => {
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

  test('by a key of the wrong type names the key, its queue and both types', async () => {
    const { broker, queue, client, keys } = await open()
    const remedy = 'Another program wrote it. Rename or delete it, or give ZyQueue other keys with ?prefix=NAME.'
    const foreign = (key: string, actual: string, expected: string) => ({
      code: 'ZYQ_STORAGE_FOREIGN',
      message: `The Redis key ${key} of the queue "${queue}" is a ${actual} instead of a ${expected}. ${remedy}`,
    })
    const consumer = await consume(broker, [queue])
    await client.set(keys.ready, 'text')
    expect(await errorOf(broker, () => broker.publish([message(queue, 'a')]))).toEqual(
      foreign(keys.ready, 'string', 'list'),
    )
    expect(await errorOf(broker, () => consumer.receive(1, { signal: never }))).toEqual(
      foreign(keys.ready, 'string', 'list'),
    )
    expect(await errorOf(broker, () => broker.admin.jobs(queue, { limit: 1 }))).toEqual(
      foreign(keys.ready, 'string', 'list'),
    )
    await client.del(keys.ready)
    await client.sadd(keys.died, 'member')
    expect(await errorOf(broker, () => broker.admin.deadLetters.list(queue, { limit: 1 }))).toEqual(
      foreign(keys.died, 'set', 'sorted set'),
    )
  })

  test('by a key without a queue names the key', async () => {
    const own = await startRedis()
    try {
      const broker = await openBroker(own.url)
      await openClient(own.url).set('zyqueue:queues', 'text')
      expect(await errorOf(broker, () => broker.declare([{ name: 'q', options: {} }]))).toMatchObject({
        code: 'ZYQ_STORAGE_FOREIGN',
        message: expect.stringMatching(/^The Redis key zyqueue:queues is a string instead of a set\. /),
      })
      await broker.close()
    } finally {
      await own.stop()
    }
  })

  test('without the right to ask for types names the keys', async () => {
    const { queue, client, keys } = await open()
    await client.call('ACL', 'SETUSER', 'blind', 'on', '>pw', '~*', '&*', '+@all', '-type')
    const broker = await openBroker(`redis://blind:pw@127.0.0.1:${server.port}`)
    await client.set(keys.ready, 'text')
    expect(await errorOf(broker, () => broker.publish([message(queue, 'a')]))).toMatchObject({
      code: 'ZYQ_STORAGE_FOREIGN',
      message: expect.stringContaining(`(queue "${queue}", keys zyqueue:{${queue}}:*). Another program wrote it.`),
    })
  })

  test('by a full memory names the queue and the remedy of Redis', async () => {
    const { broker, queue, client } = await open()
    await client.config('SET', 'maxmemory', '1')
    try {
      expect(await errorOf(broker, () => broker.publish([message(queue, 'a')]))).toMatchObject({
        code: 'ZYQ_BROKER_FULL',
        message: expect.stringMatching(new RegExp(`queue "${queue}", keys .*: .*OOM.* raise maxmemory`)),
      })
    } finally {
      await client.config('SET', 'maxmemory', '0')
    }
  })
})

/** Lost connections, and servers that stop, freeze or change their role. */
import { withTimeout } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import {
  consume,
  eventually,
  callUntilConnected,
  message,
  messages,
  never,
  newQueue,
  openBroker,
  openClient,
  receive,
  reconnect,
  startProxy,
  times,
} from '../support.ts'

await describeWithServer('redis', 'the connection', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  const openThroughProxy = async () => {
    const proxy = await startProxy(server.port)
    const broker = await openBroker(`redis://127.0.0.1:${proxy.port}`)
    await useEveryScript(broker)
    return { proxy, broker, queue: await newQueue(broker) }
  }

  test('a publish without an answer is unknown, and a repeated publish stores each job once', async () => {
    const { proxy, broker, queue } = await openThroughProxy()
    const batch = messages(queue, 5)
    proxy.cutReply()
    const results = await broker.publish(batch)
    expect(results.map(({ status }) => status)).toEqual(times(5, 'unknown'))
    for (const result of results) {
      expect('error' in result && broker.errorCode(result.error)).toBe('ZYQ_CONNECTION_LOST')
    }
    await reconnect(broker)
    for (const result of await broker.publish([...batch, message(queue, 'more')])) expect(result.status).toBe('stored')
    expect(await broker.admin.queues()).toContainEqual(expect.objectContaining({ name: queue, ready: 6 }))
  })

  test('a publish that was not sent rejects', async () => {
    const { proxy, broker, queue } = await openThroughProxy()
    proxy.cutReply()
    await broker.admin.version().catch(() => {})
    await expect(broker.publish(messages(queue, 2))).rejects.toMatchObject({ code: 'ZYQ_CONNECTION_LOST' })
  })

  test('the consumer repeats a claim without an answer and gets the same jobs once', async () => {
    const { proxy, broker, queue } = await openThroughProxy()
    const direct = await openBroker(server.url)
    await direct.publish(messages(queue, 10))
    const consumer = await consume(broker, [queue], { prefetch: 20 })
    proxy.cutReply()
    await expect(consumer.receive(10, { signal: never })).rejects.toSatisfy(
      (error) => broker.errorCode(error) === 'ZYQ_CONNECTION_LOST',
    )
    await reconnect(broker)
    const deliveries = await receive(consumer, 10)
    expect(deliveries.map(({ id }) => id)).toEqual(messages(queue, 10).map(({ id }) => id))
    expect(deliveries.every(({ deliveryCount }) => deliveryCount === 0)).toBe(true)
    expect(await consumer.ack(deliveries)).toEqual(times(10, { status: 'ok' }))
    expect(await direct.admin.queues()).toContainEqual(
      expect.objectContaining({ name: queue, ready: 0, active: 0, delayed: 0, dead: 0 }),
    )
  })

  test.each(['ack', 'release', 'reject'] as const)(
    '%s without an answer is unknown, and ok when it is repeated',
    async (operation) => {
      const { proxy, broker, queue } = await openThroughProxy()
      await broker.publish(messages(queue, 3))
      const consumer = await consume(broker, [queue])
      const deliveries = await receive(consumer, 3)
      const settle = () => {
        if (operation === 'ack') return consumer.ack(deliveries)
        if (operation === 'release')
          return consumer.release(deliveries.map((delivery) => ({ delivery, delayMs: 60_000 })))
        return consumer.reject(deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_TEST' })))
      }
      proxy.cutReply()
      expect((await settle()).map(({ status }) => status)).toEqual(times(3, 'unknown'))
      await reconnect(broker)
      expect(await settle()).toEqual(times(3, { status: 'ok' }))
      expect(await settle()).toEqual(times(3, { status: 'lease-lost' }))
      expect(await broker.admin.queues()).toContainEqual(
        expect.objectContaining({
          name: queue,
          ready: 0,
          active: 0,
          delayed: operation === 'release' ? 3 : 0,
          dead: operation === 'reject' ? 3 : 0,
        }),
      )
    },
  )

  test('a server that stops answering is detected within seconds, also by a waiting consumer, and a new connection works', async () => {
    const { proxy, broker, queue } = await openThroughProxy()
    const consumer = await consume(broker, [queue])
    const direct = await openBroker(server.url)
    proxy.blackHole()
    // Sent data must not count as a sign of life.
    const renewing = setInterval(() => void broker.leases.renew(['unknown'], 60_000).catch(() => undefined), 300)
    onTestFinished(() => clearInterval(renewing))
    const receiving = consumer.receive(1, { signal: never }).catch((error: unknown) => broker.errorCode(error))
    const publishing = broker.publish(messages(queue, 1))
    expect(await withTimeout('the consumer rejects', receiving, 20_000)).toBe('ZYQ_CONNECTION_LOST')
    const [published] = await withTimeout('the publish ends', publishing, 20_000)
    expect(published?.status).toBe('unknown')
    await reconnect(broker)
    await direct.publish(messages(queue, 2))
    expect(await receive(consumer, 2)).toHaveLength(2)
  })

  test('sending a large job may take longer than the watchdog timeout', async () => {
    const { proxy, broker, queue } = await openThroughProxy()
    proxy.slow(2 * 1024 * 1024)
    const large = message(queue, 'large', { body: Buffer.alloc(16 * 1024 * 1024) })
    expect(await broker.publish([large])).toEqual([{ status: 'stored' }])
  })

  test('an answer that arrives while the event loop is blocked is read', async () => {
    const { broker, queue } = await openThroughProxy()
    const publishing = broker.publish(messages(queue, 1))
    // The command is written in the next turn of the event loop. The turn after it would read the answer.
    await new Promise(setImmediate)
    const until = performance.now() + 6_000
    while (performance.now() < until);
    expect(await publishing).toEqual([{ status: 'stored' }])
  })

  test('close settles pending calls if the server does not answer', async () => {
    const { proxy, broker, queue } = await openThroughProxy()
    const consumer = await consume(broker, [queue])
    proxy.blackHole()
    const pending = Promise.allSettled([
      broker.publish(messages(queue, 1)),
      consumer.receive(1, { signal: never }),
      broker.admin.queues(),
    ])
    await broker.close()
    expect(await pending).toHaveLength(3)
  })

  test('a killed client reconnects and is woken by new jobs again', async () => {
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    const consumer = await consume(broker, [queue])
    const admin = openClient(server.url)
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    expect(await callUntilConnected(broker, () => consumer.receive(1, { signal: never }))).toEqual([])
    const receiving = consumer.receive(1, { signal: never })
    await callUntilConnected(broker, () => broker.publish(messages(queue, 1)))
    expect(await receiving.then(async (got) => (got.length > 0 ? got : receive(consumer, 1)))).toHaveLength(1)
  })

  test('scripts are sent again after SCRIPT FLUSH', async () => {
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    const consumer = await consume(broker, [queue])
    const admin = openClient(server.url)
    for (let round = 0; round < 3; round++) {
      await admin.script('FLUSH')
      const batch = [message(queue, `flush-${round}-a`), message(queue, `flush-${round}-b`)]
      expect(await broker.publish(batch)).toEqual([{ status: 'stored' }, { status: 'stored' }])
      await admin.script('FLUSH')
      const deliveries = await receive(consumer, 2)
      await admin.script('FLUSH')
      expect(await consumer.ack(deliveries)).toEqual([{ status: 'ok' }, { status: 'ok' }])
    }
  })

  test('a worker of a hundred queues has one connection and is woken by a job in any of them', async () => {
    const proxy = await startProxy(server.port)
    const broker = await openBroker(`redis://127.0.0.1:${proxy.port}`)
    const queues = Array.from({ length: 100 }, (_, index) => `many-${index}`)
    await broker.declare(queues.map((name) => ({ name, options: {} })))
    const consumer = await consume(broker, queues)
    const direct = await openBroker(server.url)
    const receiving = receive(consumer, 1)
    await direct.publish([message('many-73', 'seventy-three')])
    expect(await receiving).toMatchObject([{ id: 'seventy-three', queue: 'many-73' }])
    expect(proxy.connections).toBe(1)
  })

  test('an idle worker polls once a second with one script for all queues', async () => {
    const own = await startRedis()
    onTestFinished(() => own.stop())
    const broker = await openBroker(own.url)
    const queues = Array.from({ length: 100 }, (_, index) => `idle-${index}`)
    await broker.declare(queues.map((name) => ({ name, options: {} })))
    const consumer = await consume(broker, queues)
    await consumer.receive(1, { signal: never })
    const admin = openClient(own.url)
    await admin.config('RESETSTAT')
    for (let second = 0; second < 3; second++) await consumer.receive(1, { signal: never })
    const [, calls = ''] = /cmdstat_evalsha:calls=(\d+)/.exec(await admin.info('commandstats')) ?? []
    expect(Number(calls)).toBeLessThanOrEqual(4)
  })

  test('a publish wakes one waiting consumer, and a claim that leaves jobs wakes the next one', async () => {
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    const client = openClient(server.url)
    const woken = await listenTo(server.url, ['waits-1', 'waits-2', 'waits-3'])
    for (const consumerId of ['waits-1', 'waits-2', 'waits-3']) {
      await client.zadd(`zyqueue:{${queue}}:leases`, Date.now() + 60_000, consumerId)
      await client.sadd(`zyqueue:{${queue}}:waiters`, consumerId, `gone-${consumerId}`)
    }
    await broker.publish(messages(queue, 5))
    await eventually('one consumer is woken', () => woken.length === 1)
    const claiming = await consume(broker, [queue])
    expect(await claiming.receive(3, { signal: never })).toHaveLength(3)
    await eventually('another consumer is woken', () => woken.length === 2)
    expect(await claiming.receive(3, { signal: never })).toHaveLength(2)
    expect(new Set(woken).size).toBe(2)
  })

  test('a consumer without room wakes another consumer', async () => {
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    const full = await consume(broker, [queue], { prefetch: 1, consumerId: 'full' })
    await broker.publish(messages(queue, 3))
    await receive(full, 1)
    const client = openClient(server.url)
    const woken = await listenTo(server.url, ['free'])
    await consume(broker, [queue], { consumerId: 'free' })
    await client.sadd(`zyqueue:{${queue}}:waiters`, 'free')
    await client.publish('zyqueue:wake:full', `zyqueue:{${queue}}:waiters`)
    await eventually('the other consumer is woken', () => woken.includes('free'))
  })
})

/** Loads the scripts into the server, so that the answer that a test drops is never NOSCRIPT. */
async function useEveryScript(broker: Broker): Promise<void> {
  const queue = await newQueue(broker)
  await broker.publish(messages(queue, 3))
  const consumer = await consume(broker, [queue])
  const [acked, released, rejected] = await receive(consumer, 3)
  if (acked === undefined || released === undefined || rejected === undefined) throw new Error('nothing received')
  await consumer.ack([acked])
  await consumer.release([{ delivery: released, delayMs: 60_000 }])
  await consumer.reject([{ delivery: rejected, reason: 'ZYQ_TEST' }])
  await consumer.close()
}

/** Returns a list to which each of these consumers is added when it is woken. */
async function listenTo(url: string, consumerIds: readonly string[]): Promise<readonly string[]> {
  const woken: string[] = []
  const subscriber = openClient(url)
  subscriber.on('message', (channel: string) => woken.push(channel.slice('zyqueue:wake:'.length)))
  await subscriber.subscribe(...consumerIds.map((id) => `zyqueue:wake:${id}`))
  return woken
}

await describeWithServer('redis', 'the server', () => {
  test('stored jobs and leases survive a SIGKILL', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    await broker.publish(messages(queue, 200))
    await broker.publish([message(queue, 'later', { delayMs: 86_400_000 })])
    const consumer = await consume(broker, [queue], { prefetch: 50 })
    const held = await receive(consumer, 50)
    expect(await consumer.ack(held.slice(0, 10))).toEqual(times(10, { status: 'ok' }))
    await server.kill('SIGKILL')
    await server.restart()
    await reconnect(broker)
    expect(await consumer.ack(held.slice(10, 20))).toEqual(times(10, { status: 'ok' }))
    expect(await broker.admin.queues()).toMatchObject([{ ready: 150, active: 30, delayed: 1, workers: 1 }])
    // The published ids survive too.
    expect(await broker.publish(messages(queue, 200))).toEqual(times(200, { status: 'stored' }))
    expect(await broker.admin.queues()).toMatchObject([{ ready: 150, active: 30 }])
  })

  test('commands that a frozen server runs late lose no job', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const broker = await openBroker(server.url)
    await useEveryScript(broker)
    const queue = await newQueue(broker)
    await broker.publish(messages(queue, 30))
    const consumer = await consume(broker, [queue])
    const held = await receive(consumer, 10)
    await server.kill('SIGSTOP')
    const claiming = consumer.receive(5, { signal: never }).catch(() => [])
    const acking = consumer.ack(held)
    const publishing = broker.publish(messages(queue, 40).slice(30))
    expect(await claiming).toEqual([])
    expect((await acking).map(({ status }) => status)).toEqual(times(10, 'unknown'))
    expect((await publishing).map(({ status }) => status)).toEqual(times(10, 'unknown'))
    await server.kill('SIGCONT')
    await reconnect(broker)
    expect(await callUntilConnected(broker, () => consumer.ack(held))).toEqual(times(10, { status: 'ok' }))
    expect(await callUntilConnected(broker, () => broker.publish(messages(queue, 40).slice(30)))).toEqual(
      times(10, { status: 'stored' }),
    )
    const rest = await receive(consumer, 30)
    expect(new Set(rest.map(({ id }) => id)).size).toBe(30)
    expect(await consumer.ack(rest)).toEqual(times(30, { status: 'ok' }))
    expect(await broker.admin.queues()).toContainEqual(
      expect.objectContaining({ name: queue, ready: 0, active: 0, delayed: 0, dead: 0 }),
    )
  })

  test('connecting to a stopped server rejects with ZYQ_UNREACHABLE', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const broker = await openBroker(server.url)
    await server.kill('SIGKILL')
    await eventually('the loss is detected', () =>
      broker.admin.version().then(
        () => false,
        (error: unknown) => broker.errorCode(error) === 'ZYQ_CONNECTION_LOST',
      ),
    )
    const error = await broker.connect().catch((error: unknown) => error)
    expect(broker.errorCode(error)).toBe('ZYQ_UNREACHABLE')
  })

  test('if the memory is full, submits are refused and stored jobs still run', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    await broker.publish(messages(queue, 20))
    await broker.publish([message(queue, 'due', { delayMs: 1 }), message(queue, 'urgent', { priority: 9 })])
    const admin = openClient(server.url)
    await admin.config('SET', 'maxmemory', '1mb')
    for (const result of await broker.publish([message(queue, 'no'), message(queue, 'room', { priority: 2 })])) {
      expect(result.status).toBe('refused')
      expect('error' in result && broker.errorCode(result.error)).toBe('ZYQ_BROKER_FULL')
    }
    const consumer = await consume(broker, [queue], { consumerId: 'going-on' })
    const deliveries = await receive(consumer, 22)
    expect(deliveries[0]).toMatchObject({ id: 'urgent' })
    expect(await broker.leases.renew(['going-on'], 60_000)).toEqual([])
    const [released, rejected, ...acked] = deliveries
    if (released === undefined || rejected === undefined) throw new Error('nothing received')
    expect(await consumer.release([{ delivery: released, delayMs: 60_000, headers: { note: 'x' } }])).toEqual([
      { status: 'ok' },
    ])
    expect(await consumer.reject([{ delivery: rejected, reason: 'ZYQ_TEST' }])).toEqual([{ status: 'ok' }])
    expect(await consumer.ack(acked)).toEqual(times(20, { status: 'ok' }))
    expect(await consumer.receive(1, { signal: never })).toEqual([])
    await consumer.close()
    expect(await broker.admin.queues()).toMatchObject([{ ready: 0, active: 0, delayed: 1, dead: 1 }])
    await admin.config('SET', 'maxmemory', '0')
    expect(await broker.publish([message(queue, 'no')])).toEqual([{ status: 'stored' }])
  })

  test('a master that becomes a replica is a lost connection until it is a master again', async () => {
    const [server, other] = [await startRedis(), await startRedis()]
    onTestFinished(() => server.stop())
    onTestFinished(() => other.stop())
    const broker = await openBroker(server.url)
    const queue = await newQueue(broker)
    const admin = openClient(server.url)
    await admin.replicaof('127.0.0.1', other.port)
    const error = await broker.publish([message(queue, 'a')]).catch((error: unknown) => error)
    expect(broker.errorCode(error)).toBe('ZYQ_CONNECTION_LOST')
    await expect(broker.connect()).rejects.toMatchObject({
      code: 'ZYQ_UNREACHABLE',
      message: expect.stringContaining('replica'),
    })
    await admin.replicaof('NO', 'ONE')
    expect(await callUntilConnected(broker, () => broker.publish([message(queue, 'a')]))).toEqual([
      { status: 'stored' },
    ])
  })

  test('check reports an eviction policy that deletes jobs, and a missing append-only file', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const broker = await openBroker(server.url)
    expect(await broker.admin.check()).toEqual([])
    const admin = openClient(server.url)
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru')
    await admin.config('SET', 'appendonly', 'no')
    expect(await broker.admin.check()).toMatchObject([
      { level: 'problem', message: expect.stringContaining('allkeys-lru') },
      { level: 'warning', message: expect.stringContaining('append-only') },
    ])
    expect(await broker.admin.version()).toMatch(/^(Redis|Valkey) \d/)
  })
})

import { readFileSync } from 'node:fs'
import type { QueueSpec } from '@zyqueue/core/broker'
import { freePort, startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import {
  bodyOf,
  codeOf,
  consume,
  declared,
  eventually,
  message,
  openAmqp,
  openBroker,
  queueNamed,
  receive,
  receiveOne,
  store,
  unique,
} from '../support.ts'

await describeWithServer('rabbitmq', 'administration', () => {
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
    const looks = await Promise.all(observers.flatMap((observer) => [observer.admin.queues(), observer.admin.queues()]))
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
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
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

import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  bodyOf,
  consume,
  declared,
  message,
  never,
  openBroker,
  openAmqp,
  queueNamed,
  receive,
  unique,
} from './support.ts'

const MAX_BYTES = 100_000
const STORED = { status: 'stored' }
const TOO_LARGE = { status: 'refused', error: { code: 'ZYQ_BODY_TOO_LARGE' } }

await describeWithServer('rabbitmq', 'what the server refuses', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq({ config: `max_message_size = ${MAX_BYTES}` })
    await server.ctl('add_user', 'writer', 'pw')
    // What it may write to: not `forbidden`.
    await server.ctl('set_permissions', 'writer', '.*', '^(amq\\.default|topics|zyqueue.*|q-.*)$', '.*')
    await server.ctl('set_topic_permissions', 'writer', 'topics', '^allowed', '.*')
    await server.ctl('add_user', 'reader', 'pw')
    await server.ctl('set_permissions', 'reader', '.*', '^(zyqueue.*|q-.*)$', '.*')
  })
  afterAll(() => server?.stop())

  const as = (user: string): string => server.url.replace('guest:guest', `${user}:pw`)
  const large = (bytes: number): string => 'x'.repeat(bytes)

  test('a job larger than max_message_size is refused, and its neighbours are stored once', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    const bodies = [1, large(2 * MAX_BYTES), 2, large(MAX_BYTES / 2), large(3 * MAX_BYTES), 3]
    const results = await broker.publish(bodies.map((body) => message(queue, body)))
    expect(results).toMatchObject([STORED, TOO_LARGE, STORED, STORED, TOO_LARGE, STORED])
    // Nor do those go with it that are under way beside it.
    const others = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        broker.publish([message(queue, index % 6 === 3 ? large(2 * MAX_BYTES + index) : index)]),
      ),
    )
    expect(others.flat().map(({ status }) => status)).toEqual(
      Array.from({ length: 60 }, (_, index) => (index % 6 === 3 ? 'refused' : 'stored')),
    )
    const consumer = await consume(broker, [queue])
    const deliveries = await receive(consumer, 54)
    expect(deliveries.slice(0, 4).map(bodyOf)).toEqual([1, 2, large(MAX_BYTES / 2), 3])
    expect(new Set(deliveries.map(({ id }) => id)).size).toBe(54)
    expect(await consumer.receive(100, { signal: never })).toEqual([])
  })

  test('in a process that has sent nothing yet, a job that is too large takes none of many beside it along', async () => {
    const queue = await declared(await openBroker(server.url))
    const broker = await openBroker(server.url)
    const batches = Array.from({ length: 10 }, (_, batch) =>
      Array.from({ length: 20 }, (_, index) => message(queue, index === batch ? large(2 * MAX_BYTES) : index)),
    )
    const results = await Promise.all(batches.map((batch) => broker.publish(batch)))
    expect(results.flat().filter(({ status }) => status === 'refused')).toHaveLength(10)
    expect(results.flat().filter(({ status }) => status === 'stored')).toHaveLength(190)
    const consumer = await consume(broker, [queue], { prefetch: 500 })
    const deliveries = await receive(consumer, 190)
    expect(new Set(deliveries.map(({ id }) => id)).size).toBe(190)
    expect(await consumer.receive(100, { signal: never })).toEqual([])
  })

  test('a job for an exchange that its sender may not write to is refused, and its neighbours are stored once', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    await (await openAmqp(server.url)).assertExchange('forbidden', 'fanout')
    const writer = await openBroker(as('writer'))
    await writer.declare([queue])
    const options = { exchange: 'forbidden', exchangeType: 'fanout' }
    const results = await writer.publish([message(queue, 1), message(queue, 2, { options }), message(queue, 3)])
    expect(results.map(({ status }) => status)).toEqual(['stored', 'refused', 'stored'])
    expect(results.map((result) => 'error' in result && writer.errorCode(result.error))).toEqual([
      false,
      'ZYQ_AUTH',
      false,
    ])
    const consumer = await consume(broker, [queue])
    expect((await receive(consumer, 2)).map(bodyOf)).toEqual([1, 3])
    expect(await consumer.receive(100, { signal: never })).toEqual([])
  })

  test('a sender that may write nothing has all its jobs refused', async () => {
    const queue = await declared(await openBroker(server.url))
    const reader = await openBroker(as('reader'))
    const results = await reader.publish([message(queue, 1), message(queue, 2)])
    for (const result of results) {
      expect(result.status).toBe('refused')
      expect(reader.errorCode('error' in result && result.error)).toBe('ZYQ_AUTH')
    }
  })

  test('of several topics of one exchange the forbidden ones are refused, and the others stored', async () => {
    const amqp = await openAmqp(server.url)
    await amqp.assertExchange('topics', 'topic')
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    await amqp.bindQueue(queue.name, 'topics', '#')
    const writer = await openBroker(as('writer'))
    const to = (routingKeys: string) => ({ options: { exchange: 'topics', exchangeType: 'topic', routingKeys } })
    const results = await writer.publish([
      message(queueNamed(unique()), 1, to('other')),
      message(queueNamed(unique()), 2, to('allowed.a')),
      message(queueNamed(unique()), 3, to('other')),
      message(queueNamed(unique()), 4, to('allowed.b')),
    ])
    expect(results.map(({ status }) => status)).toEqual(['refused', 'stored', 'refused', 'stored'])
    const consumer = await consume(broker, [queue])
    expect((await receive(consumer, 2)).map(bodyOf)).toEqual([2, 4])
    expect(await consumer.receive(100, { signal: never })).toEqual([])
  })
})

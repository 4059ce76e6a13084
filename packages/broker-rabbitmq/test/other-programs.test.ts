import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bodyOf, consume, declared, message, openAmqp, openBroker, receive, receiveOne, store } from './support.ts'

await describeWithServer('rabbitmq', 'messages of other programs', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq()
  })
  afterAll(() => server?.stop())

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

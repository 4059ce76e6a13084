/** Jobs and notes that another version of the adapter stored. */
import { startGearmand, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { TextConnection } from '../../src/connection/text-connection.ts'
import { deadFunction, LOST_FUNCTION } from '../../src/functions.ts'
import {
  consume,
  eventually,
  message,
  openBroker,
  ownServer,
  queueName,
  receive,
  storeWorkload,
  textOf,
} from '../support.ts'

await describeWithServer('gearmand', 'an unknown format', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startGearmand({ persistent: false })
  })
  afterAll(() => server.stop())

  test('a job is delivered as undecodable, and a requeue of its dead letter stores it unchanged', async () => {
    const queue = queueName()
    const workload = '#zyq2 {"shape":"new"}\nbody'
    await storeWorkload(server.port, queue, workload)
    const broker = await openBroker(server.url)
    const consumer = await consume(broker, queue)
    const deliveries = await receive(consumer, 1)
    expect(deliveries.map(textOf)).toEqual([workload])
    expect(deliveries[0]?.undecodable).toMatch(/format 2.*reads format 1.*Update/)
    await consumer.reject(deliveries.map((delivery) => ({ delivery, reason: `ZYQ_DECODE: ${delivery.undecodable}` })))
    const [letter] = await broker.admin.deadLetters.list(queue, { limit: 10 })
    expect(letter).toMatchObject({ id: deliveries[0]?.id, reason: expect.stringContaining('format 2') })
    expect(await broker.admin.deadLetters.requeue(queue, [letter?.id ?? ''])).toBe(1)
    expect((await receive(consumer, 1)).map(textOf)).toEqual([workload])
    expect(await broker.admin.deadLetters.list(queue, { limit: 10 })).toEqual([])
  })

  test('a dead letter is listed with its format, and stays when all are requeued', async () => {
    const queue = queueName()
    const workload = '#zyq2 {"shape":"new"}\nbody'
    await storeWorkload(server.port, deadFunction(queue), workload)
    const broker = await openBroker(server.url)
    expect(await broker.admin.deadLetters.requeue(queue)).toBe(0)
    const letters = await broker.admin.deadLetters.list(queue, { limit: 10 })
    expect(letters.map(({ reason }) => reason)).toEqual([expect.stringContaining('format 2')])
    expect(letters.map(textOf)).toEqual([workload])
    expect(
      await broker.admin.deadLetters.purge(
        queue,
        letters.map(({ id }) => id),
      ),
    ).toBe(1)
  })

  test('a note about a lost delivery stays, and the other notes are counted', async () => {
    const own = await ownServer()
    const queue = queueName()
    const broker = await openBroker(own.url)
    await storeWorkload(own.port, LOST_FUNCTION, '{"v":2,"job":"a"}')
    const lost = message(queue, 'lost')
    await broker.publish([lost])
    if (broker.leases.kind !== 'connection') throw new Error('The lease is not a connection')
    await broker.leases.reclaim?.('worker-1', [{ id: lost.id }])
    const consumer = await consume(broker, queue)
    const deliveries = await receive(consumer, 1)
    expect(deliveries).toMatchObject([{ id: lost.id, deliveryCount: 1 }])
    await consumer.ack(deliveries)
    const text = await TextConnection.open({ host: '127.0.0.1', port: own.port }, new AbortController().signal)
    onTestFinished(() => text.close())
    await eventually(async () => (await text.list('status')).includes(`${LOST_FUNCTION}\t1\t0\t0`))
  })
})

import { expect, test } from 'vitest'
import type { Broker, ConsumeOptions, OutboundMessage } from '../../src/contract/index.ts'
import {
  createMemoryBroker,
  createMemoryStore,
  createVirtualClock,
  memoryBroker,
  type Clock,
} from '../../src/testing/index.ts'

const queue = { name: 'resize', options: {} }
const never = new AbortController().signal

function message(id: string, fields: Partial<OutboundMessage> = {}): OutboundMessage {
  return { queue: queue.name, id, body: Buffer.from('null'), headers: {}, delayMs: 0, priority: 4, ...fields }
}

function consumption(fields: Partial<ConsumeOptions> = {}): ConsumeOptions {
  const client = { name: 'tasks.1', host: 'localhost', pid: 1 }
  return { queues: [queue], prefetch: 100, leaseMs: 30_000, consumerId: 'worker-1', client, ...fields }
}

async function connected(broker: Broker): Promise<Broker> {
  await broker.connect()
  await broker.declare([queue])
  return broker
}

test('on a virtual clock a delayed job becomes ready at its time', async () => {
  const clock = createVirtualClock()
  const broker = await connected(createMemoryBroker(createMemoryStore({ clock })))
  await broker.publish([
    message('tomorrow', { delayMs: 86_400_000 }),
    message('in-a-month', { delayMs: 30 * 86_400_000 }),
  ])
  const consumer = await broker.consume(consumption({ leaseMs: 365 * 86_400_000 }))
  expect((await broker.admin.queues())[0]).toMatchObject({ ready: 0, delayed: 2 })

  const idle = consumer.receive(10, { signal: never })
  await clock.advance(1000)
  expect(await idle).toEqual([])

  await clock.advance(86_400_000 - 1001)
  const receiving = consumer.receive(10, { signal: never })
  await clock.advance(1)
  const [tomorrow] = await receiving
  expect(tomorrow).toMatchObject({ id: 'tomorrow', storedAtMs: Date.UTC(2000, 0, 1) })
  expect((await broker.admin.queues())[0]).toMatchObject({ ready: 0, delayed: 1, active: 1 })
  await broker.close()
})

test('on a virtual clock a lease ends at its time, and not before', async () => {
  const clock = createVirtualClock()
  const broker = await connected(createMemoryBroker(createMemoryStore({ clock })))
  await broker.publish([message('job')])
  const consumer = await broker.consume(consumption())
  const [delivery] = await consumer.receive(1, { signal: never })
  await clock.advance(29_999)
  if (broker.leases.kind !== 'renewable') expect.fail('the memory broker renews')
  expect(await broker.leases.renew(['worker-1'], 30_000)).toEqual([])
  await clock.advance(29_999)
  expect((await broker.admin.queues())[0]).toMatchObject({ ready: 0, active: 1 })
  await clock.advance(1)
  expect((await broker.admin.queues())[0]).toMatchObject({ ready: 1, active: 0, workers: 0 })
  if (delivery === undefined) throw new Error('there was no delivery')
  expect(await consumer.ack([delivery])).toEqual([{ status: 'lease-lost' }])
  await broker.close()
})

test('an id is kept for ten minutes, also if its job is done', async () => {
  const clock = createVirtualClock()
  const broker = await connected(createMemoryBroker(createMemoryStore({ clock })))
  const ready = async () => (await broker.admin.queues())[0]?.ready
  await broker.publish([message('job')])
  const consumer = await broker.consume(consumption({ leaseMs: 86_400_000 }))
  await consumer.ack(await consumer.receive(1, { signal: never }))
  await clock.advance(599_999)
  await broker.publish([message('job')])
  expect(await ready()).toBe(0)
  await clock.advance(1)
  await broker.publish([message('job')])
  expect(await ready()).toBe(1)
  await broker.close()
})

test('it rejects calls that violate the contract', async () => {
  const broker = createMemoryBroker()
  await expect(broker.declare([queue])).rejects.toMatchObject({ code: 'ZYQ_UNREACHABLE' })
  await broker.connect()
  await expect(broker.consume(consumption())).rejects.toMatchObject({ code: 'ZYQ_QUEUE_NOT_FOUND' })
  const [result] = await broker.publish([message('job')])
  expect(result).toMatchObject({ status: 'refused', error: { code: 'ZYQ_QUEUE_NOT_FOUND' } })
  await broker.declare([queue])
  const long = Array.from({ length: 1001 }, (_, index) => message(`${index}`))
  await expect(broker.publish(long)).rejects.toMatchObject({ code: 'ZYQ_BROKER' })
  const consumer = await broker.consume(consumption())
  await expect(broker.consume(consumption())).rejects.toMatchObject({ code: 'ZYQ_BROKER' })
  const waiting = consumer.receive(1, { signal: never })
  await expect(consumer.receive(1, { signal: never })).rejects.toMatchObject({ code: 'ZYQ_BROKER' })
  await broker.close()
  expect(await waiting).toEqual([])
})

test('waiting consumers take turns', async () => {
  const broker = await connected(createMemoryBroker())
  const consumers = await Promise.all(['a', 'b', 'c'].map((consumerId) => broker.consume(consumption({ consumerId }))))
  const served: number[] = []
  for (let round = 0; round < 6; round++) {
    const abort = new AbortController()
    const receiving = consumers.map((consumer) => consumer.receive(1, { signal: abort.signal }))
    await broker.publish([message(`${round}`)])
    abort.abort()
    served.push((await Promise.all(receiving)).findIndex((deliveries) => deliveries.length > 0))
  }
  expect(served).toEqual([0, 1, 2, 0, 1, 2])
  await broker.close()
})

function make(connection?: string, options: { readonly clock?: Clock } = {}): Promise<Broker> {
  return connected(memoryBroker(options).create({ baseDir: '.', ...(connection === undefined ? {} : { connection }) }))
}

async function jobs(broker: Broker): Promise<number | undefined> {
  return (await broker.admin.queues())[0]?.ready
}

test('a name means one store per clock', async () => {
  const clock = createVirtualClock()
  await (await make('memory:shared')).publish([message('job')])
  expect(await jobs(await make('memory:shared'))).toBe(1)
  expect(await jobs(await make('memory:other'))).toBe(0)
  expect(await jobs(await make('memory:shared', { clock }))).toBe(0)
  await (await make()).publish([message('job')])
  expect(await jobs(await make('memory:'))).toBe(1)
  expect(() => memoryBroker().create({ baseDir: '.', connection: 'redis://user:s3cret@host' })).toThrow(/memory:NAME/)
})

test('100,000 jobs with mixed priorities and delays are received in order', async () => {
  const clock = createVirtualClock()
  const broker = await connected(createMemoryBroker(createMemoryStore({ clock })))
  const count = 100_000
  for (let start = 0; start < count; start += 1000) {
    const batch = Array.from({ length: 1000 }, (_, index) =>
      message(`${start + index}`, { priority: index % 10, delayMs: index % 2 === 0 ? 0 : (start + index) % 977 }),
    )
    await broker.publish(batch)
  }
  await clock.advance(1000)
  const consumer = await broker.consume(consumption({ prefetch: count }))
  let lowest = 9
  let received = 0
  while (received < count) {
    const deliveries = await consumer.receive(1000, { signal: never })
    for (const { priority } of deliveries) {
      expect(priority).toBeLessThanOrEqual(lowest)
      lowest = priority
    }
    received += deliveries.length
    await consumer.ack(deliveries)
  }
  await broker.close()
})

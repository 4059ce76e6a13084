import { expect, test } from 'vitest'
import { BrokerBase } from '../../src/adapter/broker-base.ts'
import type { Consumer } from '../../src/contract/consumer.ts'
import { gate } from '../support.ts'

interface Link {
  isOpen: boolean
}

/** Records what it opens and closes. `opening` and `error` decide when an attempt ends, and how. */
class TestBroker extends BrokerBase<Link> {
  readonly events: string[] = []
  readonly links: Link[] = []
  opening: Promise<void> = Promise.resolve()
  error: Error | undefined
  signal: AbortSignal | undefined

  constructor() {
    super('test')
  }

  get current(): Link {
    return this.connection
  }

  add(consumer: TestConsumer): Promise<Consumer> {
    return this.addConsumer(async (onClosed) => {
      consumer.onClosed = onClosed
      await consumer.opening
      return consumer
    })
  }

  protected override async openConnection(signal: AbortSignal): Promise<Link> {
    this.signal = signal
    this.events.push('open')
    await this.opening
    if (this.error !== undefined) throw this.error
    const link = { isOpen: true }
    this.links.push(link)
    return link
  }

  protected override isOpen(link: Link): boolean {
    return link.isOpen
  }

  protected override async closeConnection(link: Link): Promise<void> {
    this.events.push(link.isOpen ? 'close' : 'close lost')
    link.isOpen = false
  }
}

class TestConsumer implements Consumer {
  readonly #events: string[]
  opening: Promise<void> = Promise.resolve()
  onClosed: () => void = () => {}

  constructor(events: string[] = []) {
    this.#events = events
  }

  receive = async () => []
  ack = async () => []
  release = async () => []
  reject = async () => []

  async close(): Promise<void> {
    this.#events.push('close consumer')
    this.onClosed()
  }
}

const CLOSED = { code: 'ZYQ_CLOSED', message: 'The test broker was closed' }

test('concurrent calls of connect share one attempt, and a connected broker makes none', async () => {
  const broker = new TestBroker()
  await Promise.all([broker.connect(), broker.connect()])
  await broker.connect()
  expect(broker.events).toEqual(['open'])
  expect(broker.current).toBe(broker.links[0])
})

test('a failed attempt rejects all its callers, and the next call makes another', async () => {
  const broker = new TestBroker()
  broker.error = new Error('refused')
  const outcomes = await Promise.allSettled([broker.connect(), broker.connect()])
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  broker.error = undefined
  await broker.connect()
  expect(broker.events).toEqual(['open', 'open'])
})

test('a lost connection is closed before the next is opened', async () => {
  const broker = new TestBroker()
  expect(() => broker.current).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_LOST' }))
  await broker.connect()
  const link = broker.current
  link.isOpen = false
  expect(() => broker.current).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_LOST' }))
  await broker.connect()
  expect(broker.events).toEqual(['open', 'close lost', 'open'])
  expect(broker.current).not.toBe(link)
})

test('close closes the consumers, then the connection, once', async () => {
  const broker = new TestBroker()
  await broker.connect()
  const consumer = await broker.add(new TestConsumer(broker.events))
  expect([...broker.consumers]).toEqual([consumer])
  await Promise.all([broker.close(), broker.close()])
  await broker.close()
  expect(broker.events).toEqual(['open', 'close consumer', 'close'])
  expect(broker.consumers.size).toBe(0)
  await expect(broker.connect()).rejects.toMatchObject(CLOSED)
  expect(() => broker.current).toThrow(expect.objectContaining(CLOSED))
})

test('close closes the connection if a consumer cannot be closed', async () => {
  const broker = new TestBroker()
  await broker.connect()
  const consumer = new TestConsumer(broker.events)
  await broker.add(consumer)
  consumer.onClosed = () => {
    throw new Error('not closed')
  }
  await broker.close()
  expect(broker.events).toEqual(['open', 'close consumer', 'close'])
})

test('a consumer that closes by itself is not closed again', async () => {
  const broker = new TestBroker()
  await broker.connect()
  const consumer = await broker.add(new TestConsumer(broker.events))
  await consumer.close()
  await broker.close()
  expect(broker.events).toEqual(['open', 'close consumer', 'close'])
})

test('close during connect aborts the attempt, and a connection that still opens is closed', async () => {
  const broker = new TestBroker()
  const { opened, open } = gate()
  broker.opening = opened
  const connecting = broker.connect()
  const closing = broker.close()
  await Promise.resolve()
  expect(broker.signal?.aborted).toBe(true)
  open()
  await expect(connecting).rejects.toMatchObject(CLOSED)
  await closing
  expect(broker.events).toEqual(['open', 'close'])
})

test('a consumer that opens while the broker closes is closed', async () => {
  const broker = new TestBroker()
  await broker.connect()
  const { opened, open } = gate()
  const consumer = new TestConsumer(broker.events)
  consumer.opening = opened
  const adding = broker.add(consumer)
  const closing = broker.close()
  open()
  await expect(adding).rejects.toMatchObject(CLOSED)
  await closing
  expect(broker.events).toContain('close consumer')
})

test('a broker that was never connected can be closed', async () => {
  const broker = new TestBroker()
  await broker.close()
  expect(broker.events).toEqual([])
})

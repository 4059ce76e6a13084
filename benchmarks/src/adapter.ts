/**
 * The second limit: a ZyQueue adapter through its contract, with minimal code that batches publishes and acks as core does. The
 * difference to `zyqueue` is the cost of core: tasks, envelope, middleware, flow control.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import type { Broker, BrokerPlugin, Consumer, OutboundMessage } from '@zyqueue/core/broker'
import { QUEUE, waiting } from './bench-queue.ts'
import type { Contestant, Payload, Session } from './contestant.ts'

const MAX_BATCH = 1_000
const PREFETCH = 500

export function adapterOf(plugin: BrokerPlugin): Contestant {
  return {
    async open(connection) {
      const broker = plugin.create({ connection, baseDir: process.cwd() })
      // The sockets and timers of a broker do not keep the process alive.
      setInterval(() => {}, 60_000)
      await broker.connect()
      await broker.declare([{ name: QUEUE, options: {} }])
      return session(broker)
    },
  }
}

function session(broker: Broker): Session {
  const batchSize = Math.min(MAX_BATCH, broker.capabilities.maxBatch)
  let gathered: OutboundMessage[] = []
  let published: Promise<void> | undefined

  async function publish(batch: readonly OutboundMessage[]): Promise<void> {
    const results = await broker.publish(batch)
    const failed = results.find(({ status }) => status !== 'stored')
    if (failed) throw new Error(`A publish returned ${failed.status}.`)
  }

  /** Submits of one turn of the event loop are one batch. */
  async function publishGathered(): Promise<void> {
    await setImmediate()
    const batch = gathered
    gathered = []
    published = undefined
    await publish(batch)
  }

  return {
    submit(data) {
      gathered.push(message(data))
      return (published ??= publishGathered())
    },
    async submitMany(payloads) {
      let batch: OutboundMessage[] = []
      let before = Promise.resolve()
      for (const data of payloads) {
        if (batch.push(message(data)) < batchSize) continue
        await before
        before = publish(batch)
        batch = []
      }
      await Promise.all([before, publish(batch)])
    },
    async work(handle) {
      const consumer = await broker.consume({
        queues: [{ name: QUEUE, options: {} }],
        prefetch: PREFETCH,
        leaseMs: 60_000,
        consumerId: randomUUID(),
        client: { name: 'bench', host: 'localhost', pid: process.pid },
      })
      const stop = new AbortController()
      const ended = consume(consumer, handle, stop.signal)
      return async () => {
        stop.abort()
        await ended
        await consumer.close()
      }
    },
    waiting: () => waiting(broker.admin),
    close: () => broker.close(),
  }
}

async function consume(consumer: Consumer, handle: (job: Payload) => unknown, signal: AbortSignal): Promise<void> {
  let acked: Promise<unknown> = Promise.resolve()
  while (!signal.aborted) {
    const deliveries = await consumer.receive(PREFETCH, { signal })
    for (const { body } of deliveries) await handle(JSON.parse(Buffer.from(body).toString()))
    await acked
    if (deliveries.length > 0) acked = consumer.ack(deliveries)
  }
  await acked
}

/** Ids like those of core: a series and a counter of eight digits. */
const series = randomBytes(10).toString('hex')
let count = 0

function message(data: Payload): OutboundMessage {
  return {
    queue: QUEUE,
    id: series + (count++).toString(36).padStart(8, '0'),
    body: Buffer.from(JSON.stringify(data)),
    headers: {},
    delayMs: 0,
    priority: 4,
  }
}

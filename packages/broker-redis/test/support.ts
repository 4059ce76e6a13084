import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import type { Broker, Consumer, ConsumeOptions, Delivery, OutboundMessage } from '@zyqueue/core/broker'
import { waitFor } from '@zyqueue/broker-test-kit'
import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import { RedisBroker } from '../src/broker.ts'

/** A machine under load is slow, not wrong. */
const PATIENCE_MS = 90_000

/** A connected broker, closed when the test ends. */
export async function openBroker(connection: string): Promise<RedisBroker> {
  const broker = new RedisBroker({ connection, baseDir: process.cwd() })
  onTestFinished(() => broker.close())
  await broker.connect()
  return broker
}

/** A plain client, closed when the test ends. */
export function openClient(url: string): Redis {
  const client = new Redis(url)
  client.on('error', () => {}) // The test kills its server.
  onTestFinished(() => client.disconnect())
  return client
}

let named = 0

/** A declared queue of a new name. */
export async function newQueue(broker: Broker): Promise<string> {
  const name = `queue-${process.pid}-${++named}`
  await broker.declare([{ name, options: {} }])
  return name
}

export function message(queue: string, id: string, more: Partial<OutboundMessage> = {}): OutboundMessage {
  return { queue, id, body: Buffer.from(`body of ${id}`), headers: {}, delayMs: 0, priority: 4, ...more }
}

export function messages(queue: string, count: number): readonly OutboundMessage[] {
  return Array.from({ length: count }, (_, index) => message(queue, `${queue}-${index}`))
}

export async function consume(
  broker: Broker,
  queues: readonly string[],
  more: Partial<ConsumeOptions> = {},
): Promise<Consumer> {
  return broker.consume({
    queues: queues.map((name) => ({ name, options: {} })),
    prefetch: 1000,
    leaseMs: 600_000,
    consumerId: `consumer-${process.pid}-${++named}`,
    client: { name: 'test.1', host: 'here', pid: process.pid },
    ...more,
  })
}

/** Receives until `count` have come. */
export async function receive(consumer: Consumer, count: number): Promise<readonly Delivery[]> {
  const deliveries: Delivery[] = []
  await eventually(`${count} deliveries`, async () => {
    deliveries.push(...(await consumer.receive(count - deliveries.length, { signal: never })))
    return deliveries.length >= count
  })
  return deliveries
}

/** A list of so many of the same. */
export function times<Value>(count: number, value: Value): readonly Value[] {
  return Array.from({ length: count }, () => value)
}

export const never: AbortSignal = new AbortController().signal

export function eventually<Value>(
  what: string,
  probe: () => Value | Promise<Value>,
): Promise<Exclude<Value, false | undefined>> {
  return waitFor(what, probe, PATIENCE_MS)
}

/** Connects as core does: again, until it holds. */
export async function reconnect(broker: Broker): Promise<void> {
  await eventually('the connection is back', async () => {
    try {
      await broker.connect()
      return true
    } catch {
      return false
    }
  })
}

/**
 * Does what core does: calls, and connects again where the connection was lost, until the call resolves. What it rejects
 * with besides, it rejects with.
 */
export async function insist<Value>(broker: Broker, call: () => Promise<Value>): Promise<Value> {
  const outcome = await eventually('the call comes through', async () => {
    try {
      return { value: await call() }
    } catch (error) {
      const code = broker.errorCode(error)
      if (code !== 'ZYQ_CONNECTION_LOST' && code !== 'ZYQ_UNREACHABLE' && code !== 'ZYQ_BROKER_BUSY') throw error
      await broker.connect().catch(() => {})
      return false
    }
  })
  return outcome.value
}

/** A TCP proxy in front of a port that can cut its connections, or swallow what they carry. */
export interface Proxy {
  readonly port: number
  /** From now on nothing passes, and nobody is told: the connections of now are black holes. New ones work. */
  blackHole(): void
  /** Limits the bytes per second that it reads from its clients, from now on. */
  slow(bytesPerSecond: number): void
  /** Cuts all connections instead of passing on what the server sends next. */
  cutReply(): void
  readonly connections: number
}

export async function startProxy(target: number): Promise<Proxy> {
  const pairs = new Set<{ near: Socket; far: Socket; dead: boolean }>()
  let cutting = false
  let bytesPerSecond = Infinity
  let slowSince = 0
  let passedBytes = 0
  const server = createServer((near) => {
    const far = createConnection({ host: '127.0.0.1', port: target })
    const pair = { near, far, dead: false }
    pairs.add(pair)
    near.on('data', (data) => {
      if (pair.dead) return
      far.write(data)
      if (bytesPerSecond === Infinity) return
      // By what has passed since it is slow: timers that come late on a loaded machine make it no slower.
      passedBytes += data.length
      near.pause()
      setTimeout(() => near.resume(), slowSince + (1_000 * passedBytes) / bytesPerSecond - performance.now())
    })
    far.on('data', (data) => {
      if (cutting) {
        cutting = false
        for (const { near, far } of pairs) {
          near.destroy()
          far.destroy()
        }
      } else if (!pair.dead) near.write(data)
    })
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {})
      one.on('close', () => {
        if (!pair.dead) other.destroy()
        pairs.delete(pair)
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const { near, far } of pairs) {
      near.destroy()
      far.destroy()
    }
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    blackHole: () => {
      for (const pair of pairs) pair.dead = true
    },
    slow: (most) => {
      bytesPerSecond = most
      slowSince = performance.now()
      passedBytes = 0
    },
    cutReply: () => {
      cutting = true
    },
    get connections() {
      return pairs.size
    },
  }
}

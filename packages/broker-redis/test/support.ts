import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import type { Broker, Consumer, ConsumeOptions, Delivery, OutboundMessage } from '@zyqueue/core/broker'
import { waitFor } from '@zyqueue/broker-test-kit'
import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import { RedisBroker } from '../src/broker.ts'

/** Generous, because the machine may be under load. */
const WAIT_TIMEOUT_MS = 90_000

/** Opens a connected broker, which is closed when the test ends. */
export async function openBroker(connection: string): Promise<RedisBroker> {
  const broker = new RedisBroker({ connection, baseDir: process.cwd() })
  onTestFinished(() => broker.close())
  await broker.connect()
  return broker
}

/** Opens an ioredis client, which is closed when the test ends. */
export function openClient(url: string): Redis {
  const client = new Redis(url)
  client.on('error', () => {}) // The test kills its server.
  onTestFinished(() => client.disconnect())
  return client
}

let lastNumber = 0

/** Declares a queue with a new name. */
export async function newQueue(broker: Broker): Promise<string> {
  const name = `queue-${process.pid}-${++lastNumber}`
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
    consumerId: `consumer-${process.pid}-${++lastNumber}`,
    client: { name: 'test.1', host: 'here', pid: process.pid },
    ...more,
  })
}

/** Receives until it has `count` deliveries. */
export async function receive(consumer: Consumer, count: number): Promise<readonly Delivery[]> {
  const deliveries: Delivery[] = []
  await eventually(`${count} deliveries`, async () => {
    deliveries.push(...(await consumer.receive(count - deliveries.length, { signal: never })))
    return deliveries.length >= count
  })
  return deliveries
}

/** A list with the same value `count` times. */
export function times<Value>(count: number, value: Value): readonly Value[] {
  return Array.from({ length: count }, () => value)
}

export const never: AbortSignal = new AbortController().signal

export function eventually<Value>(
  what: string,
  probe: () => Value | Promise<Value>,
): Promise<Exclude<Value, false | undefined>> {
  return waitFor(what, probe, WAIT_TIMEOUT_MS)
}

/** Connects as core does: repeats until it succeeds. */
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

/** Calls as core does: reconnects and repeats the call if the connection was lost. Other errors reject. */
export async function callUntilConnected<Value>(broker: Broker, call: () => Promise<Value>): Promise<Value> {
  const outcome = await eventually('the call succeeds', async () => {
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

/** A TCP proxy that can close its connections, delay data, or drop data. */
export interface Proxy {
  readonly port: number
  /** The current connections stay open, but drop all data from now on. New connections work. */
  blackHole(): void
  /** Limits the bytes per second from clients to the server, from now on. */
  slow(bytesPerSecond: number): void
  /** Closes all connections when the server sends its next data, and drops this data. */
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
      // Computed from all bytes since the call of `slow`, so that late timers on a loaded machine do not reduce the rate.
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

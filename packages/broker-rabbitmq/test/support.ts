import { randomUUID } from 'node:crypto'
import { waitFor } from '@zyqueue/broker-test-kit'
import type { Broker, Consumer, ConsumeOptions, Delivery, OutboundMessage, QueueSpec } from '@zyqueue/core/broker'
import { connect, type Channel } from 'amqplib'
import { onTestFinished } from 'vitest'
import plugin from '../src/index.ts'

/** Long enough for a machine under load. */
const TIMEOUT_MS = 90_000

export const never: AbortSignal = new AbortController().signal

/** A broker, closed when the test ends. */
export function newBroker(connection: string): Broker {
  const broker = plugin.create({ connection, baseDir: process.cwd() })
  onTestFinished(() => broker.close())
  return broker
}

export async function openBroker(url: string, query = 'management=off'): Promise<Broker> {
  const broker = newBroker(`${url}?${query}`)
  await broker.connect()
  return broker
}

/** A channel of another program. */
export async function openAmqp(url: string): Promise<Channel> {
  const connection = await connect(url)
  onTestFinished(() => connection.close().catch(() => undefined))
  connection.on('error', () => undefined)
  const channel = await connection.createChannel()
  channel.on('error', () => undefined)
  return channel
}

export function queueNamed(name: string, options: QueueSpec['options'] = {}): QueueSpec {
  return { name, options }
}

/** A new name. */
export function unique(what = 'q'): string {
  return `${what}-${randomUUID().slice(0, 8)}`
}

export async function declared(broker: Broker, options: QueueSpec['options'] = {}): Promise<QueueSpec> {
  const queue = queueNamed(unique(), options)
  await broker.declare([queue])
  return queue
}

export function message(queue: QueueSpec, body: unknown, more: Partial<OutboundMessage> = {}): OutboundMessage {
  return {
    queue: queue.name,
    id: randomUUID(),
    body: Buffer.from(JSON.stringify(body)),
    headers: {},
    delayMs: 0,
    priority: 4,
    ...more,
  }
}

/** Publishes; all must be stored. */
export async function store(broker: Broker, messages: readonly OutboundMessage[]): Promise<void> {
  for (let start = 0; start < messages.length; start += 500) {
    const results = await broker.publish(messages.slice(start, start + 500))
    const failed = results.find(({ status }) => status !== 'stored')
    if (failed !== undefined) throw new Error(`not stored: ${failed.status}`, { cause: Reflect.get(failed, 'error') })
  }
}

export function consume(
  broker: Broker,
  queues: readonly QueueSpec[],
  more: Partial<ConsumeOptions> = {},
): Promise<Consumer> {
  return broker.consume({
    queues,
    prefetch: 100,
    leaseMs: 60_000,
    consumerId: randomUUID(),
    client: { name: 'test.1', host: 'here', pid: process.pid },
    ...more,
  })
}

/** Receives `count` deliveries. */
export async function receive(consumer: Consumer, count: number): Promise<readonly Delivery[]> {
  const deliveries: Delivery[] = []
  await eventually(`${count} deliveries`, async () => {
    deliveries.push(...(await consumer.receive(count - deliveries.length, { signal: never })))
    return deliveries.length === count
  })
  return deliveries
}

export async function receiveOne(consumer: Consumer): Promise<Delivery> {
  const [delivery] = await receive(consumer, 1)
  if (delivery === undefined) throw new Error('nothing came')
  return delivery
}

export function bodyOf({ body }: { readonly body: Uint8Array }): unknown {
  return JSON.parse(Buffer.from(body).toString())
}

export function eventually<Value>(
  what: string,
  probe: () => Value | Promise<Value>,
  timeoutMs: number = TIMEOUT_MS,
): Promise<Exclude<Value, false | undefined>> {
  return waitFor(what, probe, timeoutMs)
}

/** The error that a promise rejects with. */
export async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('it resolved')
}

/** The broker's code of that error. */
export async function codeOf(broker: Broker, promise: Promise<unknown>): Promise<string> {
  return broker.errorCode(await errorOf(promise))
}

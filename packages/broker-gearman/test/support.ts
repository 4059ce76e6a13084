import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Broker, Consumer, ConsumeOptions, Delivery, OutboundMessage } from '@zyqueue/core/broker'
import { createWorker, type AnyTask, type WorkerOptions } from '@zyqueue/core'
import { startGearmand, type TestServer } from '@zyqueue/test-servers'
import { onTestFinished } from 'vitest'
import { PacketConnection } from '../src/connection/packet-connection.ts'
import { PACKET } from '../src/connection/protocol.ts'
import plugin from '../src/index.ts'
import { freshUnique } from '../src/message.ts'
import { submit } from '../src/publish/publish.ts'

/** A connected broker, closed when the test ends. */
export async function openBroker(...urls: readonly string[]): Promise<Broker> {
  const connection = urls.map((url) => url.replace('gearman://', '')).join()
  const broker = plugin.create({ connection, baseDir: process.cwd() })
  onTestFinished(() => broker.close())
  await broker.connect()
  return broker
}

/** A server for one test. It keeps its jobs in memory, unless `options` say otherwise. */
export async function ownServer(
  options: Parameters<typeof startGearmand>[0] = { persistent: false },
): Promise<TestServer> {
  const server = await startGearmand(options)
  onTestFinished(() => server.stop())
  return server
}

export function queueName(): string {
  return `q-${randomUUID().slice(0, 8)}`
}

export function message(queue: string, body: string, more: Partial<OutboundMessage> = {}): OutboundMessage {
  return { queue, id: randomUUID(), body: Buffer.from(body), headers: {}, delayMs: 0, priority: 4, ...more }
}

export function consume(
  broker: Broker,
  queue: string | readonly string[],
  more: Partial<ConsumeOptions> = {},
): Promise<Consumer> {
  return broker.consume({
    queues: [queue].flat().map((name) => ({ name, options: {} })),
    prefetch: 1000,
    leaseMs: 60_000,
    consumerId: randomUUID(),
    client: { name: 'test.1', host: 'here', pid: process.pid },
    ...more,
  })
}

/** Far more than a job takes. A client without an answer would wait for ever. */
const HANGS_MS = 90_000

export interface ToolRun {
  readonly code: unknown
  /** Its standard output, and then its standard error. */
  readonly output: string
  readonly hangs: boolean
}

/** Runs the tool of libgearman, as an example of other programs. */
export function gearman(url: string, ...args: readonly string[]): Promise<ToolRun> {
  const { port } = new URL(url)
  return new Promise((resolve) => {
    execFile('gearman', ['-h', '127.0.0.1', '-p', port, ...args], { timeout: HANGS_MS }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, output: stdout + stderr, hangs: error?.killed === true }),
    )
  })
}

/** Receives until there are `count` deliveries, or for a minute and a half. */
export async function receive(consumer: Consumer, count: number): Promise<readonly Delivery[]> {
  const deliveries: Delivery[] = []
  const until = performance.now() + 90_000
  while (deliveries.length < count && performance.now() < until) {
    deliveries.push(...(await consumer.receive(count - deliveries.length, { signal: new AbortController().signal })))
  }
  return deliveries
}

/** Stores a job as it is, past the broker. */
export async function storeWorkload(port: number, functionName: string, workload: string): Promise<Uint8Array> {
  const { signal } = new AbortController()
  const connection = await PacketConnection.open({ host: '127.0.0.1', port }, signal)
  const bytes = Buffer.from(workload)
  await submit(connection, [{ packet: PACKET.SUBMIT_JOB_BG, functionName, unique: freshUnique(), workload: bytes }])
  connection.close()
  return bytes
}

export function textOf({ body }: { readonly body: Uint8Array }): string {
  return Buffer.from(body).toString()
}

/** A worker of core on these tasks, closed when the test ends. */
export async function startWorker(tasks: readonly AnyTask[], options: WorkerOptions = {}): Promise<void> {
  const worker = createWorker({ tasks, ...options })
  onTestFinished(() => worker.close())
  await worker.start()
}

/** Calls `probe` until it returns neither false nor undefined, for a minute and a half. */
export async function eventually<Value>(probe: () => Value | Promise<Value>): Promise<Value> {
  const until = performance.now() + 90_000
  for (;;) {
    const value = await probe()
    if (value !== false && value !== undefined) return value
    if (performance.now() > until) throw new Error(`Still false after 90 s: ${probe}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

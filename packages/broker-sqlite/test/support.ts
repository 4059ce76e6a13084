import { fork, type ChildProcess, type ForkOptions } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Broker, Consumer, ConsumeOptions, Delivery, OutboundMessage } from '@zyqueue/core/broker'
import { onTestFinished } from 'vitest'
import { SqliteBroker } from '../src/broker.ts'
import type { Driver } from '../src/driver.ts'

/** A folder for this test, removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'zyqueue-sqlite-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A connected broker, closed when the test ends. */
export async function openBroker(path: string, driver?: Driver): Promise<SqliteBroker> {
  const broker = new SqliteBroker({ connection: `sqlite:${path}`, baseDir: tmpdir() }, driver)
  onTestFinished(() => broker.close())
  await broker.connect()
  return broker
}

export function message(id: string, more: Partial<OutboundMessage> = {}): OutboundMessage {
  return { queue: 'q', id, body: Buffer.from(`body of ${id}`), headers: {}, delayMs: 0, priority: 4, ...more }
}

export function messages(count: number, more: Partial<OutboundMessage> = {}): readonly OutboundMessage[] {
  return Array.from({ length: count }, (_, index) => message(`${more.queue ?? 'q'}-${index}`, more))
}

export async function consume(broker: Broker, more: Partial<ConsumeOptions> = {}): Promise<Consumer> {
  return broker.consume({
    queues: [{ name: 'q', options: {} }],
    prefetch: 1000,
    leaseMs: 600_000,
    consumerId: 'consumer',
    client: { name: 'test.1', host: 'here', pid: process.pid },
    ...more,
  })
}

/** Receives until `count` jobs have come, at most for ninety seconds. */
export async function receive(consumer: Consumer, count: number): Promise<readonly Delivery[]> {
  const deliveries: Delivery[] = []
  const until = performance.now() + 90_000
  while (deliveries.length < count && performance.now() < until) {
    deliveries.push(...(await consumer.receive(count - deliveries.length, { signal: AbortSignal.timeout(60_000) })))
  }
  return deliveries
}

export async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  const until = performance.now() + 90_000
  while (!(await condition())) {
    if (performance.now() > until) throw new Error(`Not so within 90 s: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A process that runs the built package. `said` has its messages. It is killed when the test ends. */
export function startChild(script: string, ...parameters: readonly string[]): { child: ChildProcess; said: unknown[] } {
  return start(script, parameters, { execArgv: [] })
}

/** A child whose files cannot grow beyond `blocks` of 512 or 1,024 bytes: a write beyond that fails as on a broken disk. */
export function startChildWithSmallFiles(script: string, blocks: number, path: string): ReturnType<typeof startChild> {
  const shell = ['-c', `ulimit -f ${blocks} && exec "$0" "$@"`, process.execPath]
  return start(script, [path], { execPath: 'sh', execArgv: shell })
}

function start(script: string, parameters: readonly string[], options: ForkOptions): ReturnType<typeof startChild> {
  const path = fileURLToPath(new URL(`children/${script}.js`, import.meta.url))
  const child = fork(path, parameters, options)
  onTestFinished(() => void child.kill('SIGKILL'))
  const said: unknown[] = []
  child.on('message', (value) => said.push(value))
  return { child, said }
}

export function exitOf(child: ChildProcess): Promise<number | NodeJS.Signals | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode ?? child.signalCode)
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)))
}

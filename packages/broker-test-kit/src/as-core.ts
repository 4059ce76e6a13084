import assert from 'node:assert/strict'
import type { Broker, QueueSpec } from '@zyqueue/core/broker'
import { codeOf, outcomeOf } from './calls.ts'
import { bytesOf, messageTo, type Stage } from './stage.ts'

/** The error must have a code that has core connect again. */
export function expectLost(broker: Broker, what: string, error: unknown): void {
  const code = codeOf(broker, error)
  assert.ok(
    code === 'ZYQ_UNREACHABLE' || code === 'ZYQ_CONNECTION_LOST',
    `${what} without a connection must reject with ZYQ_UNREACHABLE or ZYQ_CONNECTION_LOST, not ${code}: ${String(error)}`,
  )
}

/** Calls as core does: if the call finds the connection lost, it connects and calls again. */
export async function asCore<Value>(
  stage: Stage,
  broker: Broker,
  what: string,
  call: () => Promise<Value>,
): Promise<Value> {
  let last: unknown
  const working = stage.eventually(`${what} works again after a loss and connect()`, async () => {
    const outcome = await stage.settledLate(what, outcomeOf(call))
    if ('value' in outcome) return outcome
    last = outcome.error
    expectLost(broker, what, last)
    await reconnect(stage, broker)
    return undefined
  })
  const { value } = await working.catch((error: unknown) => {
    if (error instanceof Error) error.cause ??= last
    throw error
  })
  return value
}

/** Publishes a new job, as core would, until one is stored. */
export async function publishAsCore(stage: Stage, broker: Broker, queue: QueueSpec, body: string): Promise<void> {
  await stage.eventually(`publish() of "${body}" to the queue ${queue.name} works`, async () => {
    const message = messageTo(queue, { body: bytesOf(body) })
    const [result] = await asCore(stage, broker, 'publish()', () => broker.publish([message]))
    assert.ok(result, 'publish() gave no result')
    if (result.status === 'stored') return true
    const code = codeOf(broker, result.error)
    if (code === 'ZYQ_UNREACHABLE' || code === 'ZYQ_CONNECTION_LOST') await reconnect(stage, broker)
    return false
  })
}

async function reconnect(stage: Stage, broker: Broker): Promise<void> {
  const outcome = await stage.settledLate(
    'connect()',
    outcomeOf(() => broker.connect()),
  )
  if ('error' in outcome) expectLost(broker, 'connect()', outcome.error)
}

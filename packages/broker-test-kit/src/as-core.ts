import assert from 'node:assert/strict'
import type { Broker, QueueSpec } from '@zyqueue/core/broker'
import { codeOf, outcomeOf } from './calls.ts'
import type { Fixture } from './fixture.ts'
import { bytesOf, messageTo } from './test-data.ts'

/** The error must have one of the codes after which core connects again. */
export function expectConnectionLost(broker: Broker, what: string, error: unknown): void {
  const code = codeOf(broker, error)
  assert.ok(
    code === 'ZYQ_UNREACHABLE' || code === 'ZYQ_CONNECTION_LOST',
    `${what} without a connection must reject with ZYQ_UNREACHABLE or ZYQ_CONNECTION_LOST, not ${code}: ${String(error)}`,
  )
}

/** Calls as core does: if the connection is lost, it connects and calls again. */
export async function callAsCore<Value>(
  fixture: Fixture,
  broker: Broker,
  what: string,
  call: () => Promise<Value>,
): Promise<Value> {
  let last: unknown
  const working = fixture.eventually(`${what} works again after a loss and connect()`, async () => {
    const outcome = await fixture.withLongTimeout(what, outcomeOf(call))
    if ('value' in outcome) return outcome
    last = outcome.error
    expectConnectionLost(broker, what, last)
    await reconnect(fixture, broker)
    return undefined
  })
  const { value } = await working.catch((error: unknown) => {
    if (error instanceof Error) error.cause ??= last
    throw error
  })
  return value
}

/** Publishes as core does: reconnects and publishes a new message until one is stored. */
export async function publishAsCore(fixture: Fixture, broker: Broker, queue: QueueSpec, body: string): Promise<void> {
  await fixture.eventually(`publish() of "${body}" to the queue ${queue.name} works`, async () => {
    const message = messageTo(queue, { body: bytesOf(body) })
    const [result] = await callAsCore(fixture, broker, 'publish()', () => broker.publish([message]))
    assert.ok(result, 'publish() gave no result')
    if (result.status === 'stored') return true
    const code = codeOf(broker, result.error)
    if (code === 'ZYQ_UNREACHABLE' || code === 'ZYQ_CONNECTION_LOST') await reconnect(fixture, broker)
    return false
  })
}

async function reconnect(fixture: Fixture, broker: Broker): Promise<void> {
  const outcome = await fixture.withLongTimeout(
    'connect()',
    outcomeOf(() => broker.connect()),
  )
  if ('error' in outcome) expectConnectionLost(broker, 'connect()', outcome.error)
}

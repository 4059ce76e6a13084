import assert from 'node:assert/strict'
import type { Broker, CodeOf, QueueSpec } from '@zyqueue/core/broker'
import { consumeOptions, messageTo } from './test-data.ts'
import { reclaimOf } from './reclaim.ts'

/** Calls of all methods of a broker, on one queue, by name. */
export function callsOf(broker: Broker, queue: QueueSpec): ReadonlyMap<string, () => Promise<unknown>> {
  const { admin } = broker
  const calls = new Map<string, () => Promise<unknown>>([
    ['declare', () => broker.declare([queue])],
    ['publish', () => broker.publish([messageTo(queue)])],
    ['consume', () => broker.consume(consumeOptions([queue]))],
    ['admin.queues', () => admin.queues()],
    ['admin.purge', () => admin.purge(queue.name)],
    ['admin.deadLetters.list', () => admin.deadLetters.list(queue.name, { limit: 1 })],
    ['admin.deadLetters.requeue', () => admin.deadLetters.requeue(queue.name)],
    ['admin.deadLetters.purge', () => admin.deadLetters.purge(queue.name)],
    ['admin.check', () => admin.check()],
    ['admin.version', () => admin.version()],
  ])
  if (admin.workers !== undefined) calls.set('admin.workers', async () => admin.workers?.())
  const { leases } = broker
  if (leases.kind === 'renewable') calls.set('leases.renew', () => leases.renew(['kit-unknown'], 1000))
  const reclaim = reclaimOf(leases)
  if (reclaim !== undefined) calls.set('leases.reclaim', () => reclaim('kit-unknown', []))
  return calls
}

/** All error codes of brokers. The compiler checks that none is missing. */
const brokerCodes: Readonly<Record<CodeOf<'broker'>, true>> = {
  ZYQ_UNREACHABLE: true,
  ZYQ_AUTH: true,
  ZYQ_CONNECTION_LOST: true,
  ZYQ_OUTCOME_UNKNOWN: true,
  ZYQ_BROKER_FULL: true,
  ZYQ_BROKER_BUSY: true,
  ZYQ_BODY_TOO_LARGE: true,
  ZYQ_UNROUTABLE: true,
  ZYQ_TOPOLOGY: true,
  ZYQ_QUEUE_NOT_FOUND: true,
  ZYQ_JOB_NOT_FOUND: true,
  ZYQ_STORAGE_NOT_FOUND: true,
  ZYQ_STORAGE_DAMAGED: true,
  ZYQ_STORAGE_FOREIGN: true,
  ZYQ_STORAGE_VERSION: true,
  ZYQ_LEASE_LOST: true,
  ZYQ_CLOSED: true,
  ZYQ_SUBMIT_PARTIAL: true,
  ZYQ_BROKER: true,
}

/** The broker's code for an error. It must be a known code. */
export function codeOf(broker: Broker, error: unknown): CodeOf<'broker'> {
  const code = broker.errorCode(error)
  assert.ok(Object.hasOwn(brokerCodes, code), `errorCode() returned ${code}, which is not an error code of brokers`)
  return code
}

/** The result or the error of a call. A call that throws instead of rejecting fails the test. */
export async function outcomeOf<Value>(
  call: () => Promise<Value>,
): Promise<{ readonly value: Value } | { readonly error: unknown }> {
  const promise = call()
  try {
    return { value: await promise }
  } catch (error) {
    return { error }
  }
}

/** The call must reject with this code. */
export async function expectCode(broker: Broker, code: CodeOf<'broker'>, call: () => Promise<unknown>): Promise<void> {
  const outcome = await outcomeOf(call)
  assert.ok('error' in outcome, `the call must reject with ${code}, but it resolved`)
  assert.equal(codeOf(broker, outcome.error), code, String(outcome.error))
}

import assert from 'node:assert/strict'
import type { Broker, Consumer, QueueSpec } from '@zyqueue/core/broker'
import { callAsCore, publishAsCore } from '../as-core.ts'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, messageTo, newConsumerId, numericBodies, textOf } from '../test-data.ts'

const THIRTY_DAYS_MS = 30 * 86_400_000
const DELAYED = 'soon'
const DEAD_REASON = 'ZYQ_JOB_FAILED: before the restart'

export const restarts: Behaviours = ifPresent(feature.restart, {
  'work continues after a restart of the engine, with all stored jobs if the broker is durable': async (fixture) => {
    const { durable, delay, idempotentPublish } = fixture.capabilities
    const queue = await fixture.queue()
    const consumerId = newConsumerId()
    const owner = await fixture.consumer([queue], { broker: await fixture.connectedBroker(), consumerId, prefetch: 2 })
    await fixture.storeBodies(queue, 'dead', 'held')
    const [dead] = await fixture.take(owner, 2)
    assert.ok(dead)
    await fixture.reject(owner, { delivery: dead, reason: DEAD_REASON })
    const bodies = numericBodies(20)
    const ready = bodies.map((body) => messageTo(queue, { body: bytesOf(body) }))
    await fixture.store(ready)
    if (delay !== 'none') {
      await fixture.store([
        messageTo(queue, { body: bytesOf(DELAYED), delayMs: 300 }),
        messageTo(queue, { body: bytesOf('much later'), delayMs: THIRTY_DAYS_MS }),
      ])
    }

    const after = await fixture.restart()
    const broker = await brokerAfterRestart(fixture, after)
    await callAsCore(after, broker, 'declare()', () => broker.declare([queue]))
    const { leases } = after.broker
    if (leases.kind === 'renewable') await after.withTimeout('reclaim()', leases.reclaim(consumerId, []))
    if (durable && idempotentPublish) await after.store(ready)
    await publishAsCore(after, broker, queue, 'new')
    const consumer = await callAsCore(after, broker, 'consume()', () => after.consumer([queue], { broker }))
    if (!durable) {
      await takeAll(after, queue, consumer, ['new'])
      return
    }
    const expected = ['held', ...bodies, ...(delay === 'none' ? [] : [DELAYED]), 'new']
    const found = await takeAll(after, queue, consumer, expected)
    assert.deepEqual(found.toSorted(), expected.toSorted(), `the jobs of the queue ${queue.name} after a restart`)
    const delayed = await after.withTimeout('purge()', after.broker.admin.purge(queue.name))
    assert.equal(delayed, delay === 'none' ? 0 : 1, `delayed jobs of the queue ${queue.name} after a restart`)
    await expectDead(after, queue)
  },
})

/** A broker that was connected before the restart. If the engine runs in the process and has closed it, a new one. */
async function brokerAfterRestart(fixture: Fixture, after: Fixture): Promise<Broker> {
  const outcome = await after.withLongTimeout(
    'connect()',
    outcomeOf(() => fixture.broker.connect()),
  )
  const closed = 'error' in outcome && codeOf(fixture.broker, outcome.error) === 'ZYQ_CLOSED'
  return closed ? after.broker : fixture.broker
}

/** Receives and acks jobs until all expected bodies have arrived. Returns all bodies. */
async function takeAll(
  fixture: Fixture,
  queue: QueueSpec,
  consumer: Consumer,
  expected: readonly string[],
): Promise<readonly string[]> {
  const found: string[] = []
  const missing = (): readonly string[] => expected.filter((body) => !found.includes(body))
  const { signal } = new AbortController()
  const takeSome = async (): Promise<boolean> => {
    const deliveries = await fixture.withTimeout('receive()', consumer.receive(10, { signal }))
    await fixture.ackAll(consumer, deliveries)
    found.push(...deliveries.map(textOf))
    return missing().length === 0
  }
  const isDelayedMissing = (): boolean => missing().every((body) => body === DELAYED)
  const taking = fixture
    .eventually('all jobs that were not delayed', async () => (await takeSome()) || isDelayedMissing())
    .then(() => missing().length === 0 || fixture.eventually('all jobs', takeSome, fixture.delayedAfterRestartMs))
  await taking.catch((error: unknown) => {
    assert.deepEqual(missing(), [], `jobs of the queue ${queue.name} that are lost after a restart`)
    throw error
  })
  return found
}

async function expectDead(fixture: Fixture, queue: QueueSpec): Promise<void> {
  if (fixture.capabilities.deadLetter === 'none') return
  const { deadLetters } = fixture.broker.admin
  const letters = await fixture.withTimeout('list()', deadLetters.list(queue.name, { limit: 10 }))
  assert.deepEqual(
    letters.map((letter) => `${textOf(letter)}: ${letter.reason}`),
    [`dead: ${DEAD_REASON}`],
    `dead letters of the queue ${queue.name} after a restart`,
  )
}

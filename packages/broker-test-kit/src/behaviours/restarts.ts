import assert from 'node:assert/strict'
import type { Broker, Consumer, QueueSpec } from '@zyqueue/core/broker'
import { asCore, publishAsCore } from '../as-core.ts'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { bytesOf, messageTo, newConsumerId, numbered, textOf, type Stage } from '../stage.ts'

const THIRTY_DAYS_MS = 30 * 86_400_000
const DELAYED = 'soon'
const DEAD_REASON = 'ZYQ_JOB_FAILED: before the restart'

export const restarts: Behaviours = having(feature.restart, {
  'work goes on after a restart of the engine, and what was stored is there, where the broker is durable': async (
    stage,
  ) => {
    const { durable, delay, idempotentPublish } = stage.capabilities
    const queue = await stage.queue()
    const consumerId = newConsumerId()
    const owner = await stage.consumer([queue], { broker: await stage.connectedBroker(), consumerId, prefetch: 2 })
    await stage.storeBodies(queue, 'dead', 'held')
    const [dead] = await stage.take(owner, 2)
    assert.ok(dead)
    await stage.reject(owner, { delivery: dead, reason: DEAD_REASON })
    const bodies = numbered(20)
    const ready = bodies.map((body) => messageTo(queue, { body: bytesOf(body) }))
    await stage.store(ready)
    if (delay !== 'none') {
      await stage.store([
        messageTo(queue, { body: bytesOf(DELAYED), delayMs: 300 }),
        messageTo(queue, { body: bytesOf('much later'), delayMs: THIRTY_DAYS_MS }),
      ])
    }

    const after = await stage.restart()
    const broker = await survivorOf(stage, after)
    await asCore(after, broker, 'declare()', () => broker.declare([queue]))
    const { leases } = after.broker
    if (leases.kind === 'renewable') await after.settled('reclaim()', leases.reclaim(consumerId, []))
    if (durable && idempotentPublish) await after.store(ready)
    await publishAsCore(after, broker, queue, 'new')
    const consumer = await asCore(after, broker, 'consume()', () => after.consumer([queue], { broker }))
    if (!durable) {
      await takeAll(after, queue, consumer, ['new'])
      return
    }
    const expected = ['held', ...bodies, ...(delay === 'none' ? [] : [DELAYED]), 'new']
    const found = await takeAll(after, queue, consumer, expected)
    assert.deepEqual(found.toSorted(), expected.toSorted(), `the jobs of the queue ${queue.name} after a restart`)
    const delayed = await after.settled('purge()', after.broker.admin.purge(queue.name))
    assert.equal(delayed, delay === 'none' ? 0 : 1, `delayed jobs of the queue ${queue.name} after a restart`)
    await expectDead(after, queue)
  },
})

/** A broker that was connected before the restart; a new one if the engine is in its process, and closed it. */
async function survivorOf(stage: Stage, after: Stage): Promise<Broker> {
  const outcome = await after.settledLate(
    'connect()',
    outcomeOf(() => stage.broker.connect()),
  )
  const closed = 'error' in outcome && codeOf(stage.broker, outcome.error) === 'ZYQ_CLOSED'
  return closed ? after.broker : stage.broker
}

/** Takes jobs until all of these are among them; gives all that it took. */
async function takeAll(
  stage: Stage,
  queue: QueueSpec,
  consumer: Consumer,
  expected: readonly string[],
): Promise<readonly string[]> {
  const found: string[] = []
  const missing = (): readonly string[] => expected.filter((body) => !found.includes(body))
  const { signal } = new AbortController()
  const takeSome = async (): Promise<boolean> => {
    const deliveries = await stage.settled('receive()', consumer.receive(10, { signal }))
    await stage.ackAll(consumer, deliveries)
    found.push(...deliveries.map(textOf))
    return missing().length === 0
  }
  const isDelayedMissing = (): boolean => missing().every((body) => body === DELAYED)
  const taking = stage
    .eventually('all jobs that were not delayed', async () => (await takeSome()) || isDelayedMissing())
    .then(() => missing().length === 0 || stage.eventually('all jobs', takeSome, stage.delayedAfterRestartMs))
  await taking.catch((error: unknown) => {
    assert.deepEqual(missing(), [], `jobs of the queue ${queue.name} that are not there after a restart`)
    throw error
  })
  return found
}

async function expectDead(stage: Stage, queue: QueueSpec): Promise<void> {
  if (stage.capabilities.deadLetter === 'none') return
  const { deadLetters } = stage.broker.admin
  const letters = await stage.settled('list()', deadLetters.list(queue.name, { limit: 10 }))
  assert.deepEqual(
    letters.map((letter) => `${textOf(letter)}: ${letter.reason}`),
    [`dead: ${DEAD_REASON}`],
    `dead letters of the queue ${queue.name} after a restart`,
  )
}

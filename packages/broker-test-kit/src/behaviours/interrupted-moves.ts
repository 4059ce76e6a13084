import { setImmediate } from 'node:timers/promises'
import type { Broker, Consumer, Delivery, QueueSpec } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { nameOf } from '../expect-statuses.ts'
import type { Fixture } from '../fixture.ts'
import { newConsumerId, numericBodies } from '../test-data.ts'
import { reclaimOf } from '../reclaim.ts'

const count = 60
/** How many calls start during one call, if all take as long as the first. */
const STEPS = 20
const reason = 'ZYQ_JOB_FAILED: moved by the kit'

const deadLetterMoves = ifPresent(feature.deadLetters, {
  'jobs that are rejected when the connection is cut are in their queue or dead': (fixture) =>
    interruptSettling(fixture, (consumer, delivery) => consumer.reject([{ delivery, reason }])),

  'dead letters that are requeued when the connection is cut are in their queue or dead': async (fixture) => {
    const { queue, consumer, deliveries } = await holdManyJobs(fixture)
    await fixture.reject(consumer, ...deliveries.map((delivery) => ({ delivery, reason })))
    const broker = await fixture.connectedBroker()
    await cutInTheMiddle(
      fixture,
      broker,
      deliveries.map(
        ({ id }) =>
          () =>
            broker.admin.deadLetters.requeue(queue.name, [id]),
      ),
    )
    await expectNoneMissing(fixture, queue, deliveries)
  },
})

/** A lost connection may duplicate a job that moves and must not lose it: the adapter stores the copy before it deletes the job. */
export const interruptedMoves: Behaviours = ifPresent(feature.killConnection, {
  'jobs that are released when the connection is cut are in their queue': (fixture) =>
    interruptSettling(fixture, (consumer, delivery) =>
      consumer.release([{ delivery, delayMs: 0, headers: { 'x-note': 'released' } }]),
    ),
  ...deadLetterMoves,
})

async function interruptSettling(
  fixture: Fixture,
  settle: (consumer: Consumer, delivery: Delivery) => Promise<unknown>,
): Promise<void> {
  const { queue, broker, consumerId, consumer, deliveries } = await holdManyJobs(fixture)
  await cutInTheMiddle(
    fixture,
    broker,
    deliveries.map((delivery) => () => settle(consumer, delivery)),
  )
  // Jobs that the consumer still holds return to the queue.
  const reclaim = reclaimOf(fixture.broker.leases)
  if (reclaim !== undefined) await fixture.withTimeout('reclaim()', reclaim(consumerId, []))
  await expectNoneMissing(fixture, queue, deliveries)
}

/** A consumer with its own broker that holds many jobs. */
async function holdManyJobs(fixture: Fixture) {
  const queue = await fixture.queue()
  await fixture.storeBodies(queue, ...numericBodies(count))
  const broker = await fixture.connectedBroker()
  const consumerId = newConsumerId()
  const consumer = await fixture.consumer([queue], { broker, consumerId, prefetch: count })
  return { queue, broker, consumerId, consumer, deliveries: await fixture.take(consumer, count) }
}

/**
 * Cuts the connection while calls are pending that have reached different steps. The first call runs alone to measure its
 * duration; the others start at small fractions of it.
 */
async function cutInTheMiddle(
  fixture: Fixture,
  broker: Broker,
  [first, ...calls]: readonly (() => Promise<unknown>)[],
): Promise<void> {
  const startedAt = performance.now()
  await fixture.withTimeout(
    'a call',
    outcomeOf(async () => first?.()),
  )
  const stepMs = (performance.now() - startedAt) / STEPS
  const outcomes: ReturnType<typeof outcomeOf>[] = []
  let ended = 0
  for (const [index, call] of calls.entries()) {
    const dueAt = performance.now() + stepMs
    while (performance.now() < dueAt) await setImmediate()
    if (ended > 0 && index > STEPS) break
    outcomes.push(outcomeOf(call).finally(() => ended++))
  }
  await fixture.cut(broker)
  for (const outcome of await fixture.withLongTimeout('the pending calls', Promise.all(outcomes))) {
    if ('error' in outcome) codeOf(broker, outcome.error)
  }
}

/** Each job must be received or listed as a dead letter. */
async function expectNoneMissing(fixture: Fixture, queue: QueueSpec, jobs: readonly Delivery[]): Promise<void> {
  const newOwner = await fixture.consumer([queue], { prefetch: 3 * count })
  const found = new Set<string>()
  const missing = (): readonly string[] =>
    jobs.flatMap((job, index) => (found.has(job.id) ? [] : [`\n  ${index}: ${nameOf(job)}`]))
  await fixture.eventually(
    () => `all jobs are found; missing:${missing().join('')}`,
    async () => {
      const deliveries = await fixture.withTimeout(
        'receive()',
        newOwner.receive(count, { signal: new AbortController().signal }),
      )
      const letters = await fixture.withTimeout(
        'list()',
        fixture.broker.admin.deadLetters.list(queue.name, { limit: 3 * count }),
      )
      for (const { id } of [...deliveries, ...letters]) found.add(id)
      return missing().length === 0
    },
  )
}

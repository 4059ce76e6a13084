import assert from 'node:assert/strict'
import type { StoredJob } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { expectCode } from '../calls.ts'
import { messageTo, numericBodies, queueSpec, textOf } from '../test-data.ts'

const stateAndId = ({ id, state }: StoredJob): string => `${state} ${id}`

const jobList = ifPresent(feature.jobs, {
  'jobs are listed unchanged, in the order in which they will run, at most limit of them': async (fixture) => {
    const { admin } = fixture.broker
    assert.ok(admin.jobs)
    const queue = await fixture.queue()
    const held = messageTo(queue)
    await fixture.store([held])
    const consumer = await fixture.consumer([queue], { prefetch: 1 })
    const delivery = await fixture.takeOne(consumer)
    const hasDelays = fixture.capabilities.delay !== 'none'
    const delayed = messageTo(queue, { delayMs: 86_400_000 })
    const ready = ['first', 'second'].map((text) =>
      messageTo(queue, { body: new TextEncoder().encode(text), headers: { trace: text }, priority: 4 }),
    )
    await fixture.store(hasDelays ? [delayed, ...ready] : ready)
    const expected = [`active ${held.id}`, ...ready.map(({ id }) => `ready ${id}`)]
    const jobs = await fixture.withTimeout('jobs()', admin.jobs(queue.name, { limit: 100 }))
    assert.deepEqual(jobs.map(stateAndId), hasDelays ? [...expected, `delayed ${delayed.id}`] : expected)
    const second = jobs[2]
    assert.ok(second)
    assert.equal(textOf(second), 'second')
    assert.equal(second.queue, queue.name)
    assert.equal(second.headers['trace'], 'second')
    if (fixture.capabilities.priorities > 1) assert.equal(second.priority, 4)
    const last = jobs.at(-1)
    if (hasDelays) {
      const dueMs = (last?.readyAtMs ?? 0) - Date.now()
      assert.ok(dueMs > 86_000_000 && dueMs < 87_000_000, 'readyAtMs must be in milliseconds since 1970')
    }
    const few = await fixture.withTimeout('jobs()', admin.jobs(queue.name, { limit: 2 }))
    assert.deepEqual(few.map(stateAndId), expected.slice(0, 2))
    await fixture.ackAll(consumer, [delivery])
  },

  'listing jobs moves none': async (fixture) => {
    const { admin } = fixture.broker
    assert.ok(admin.jobs)
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(5))
    await fixture.withTimeout('jobs()', admin.jobs(queue.name, { limit: 3 }))
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), numericBodies(5))
  },
})

const cancelling = ifPresent(feature.cancel, {
  'cancel deletes the waiting jobs with these ids, and nothing else': async (fixture) => {
    const { admin } = fixture.broker
    assert.ok(admin.cancel)
    const queue = await fixture.queue()
    const other = await fixture.queue()
    const foreign = messageTo(other)
    const held = messageTo(queue)
    await fixture.store([held, foreign])
    const consumer = await fixture.consumer([queue], { prefetch: 1 })
    const delivery = await fixture.takeOne(consumer)
    const delayed = messageTo(queue, { delayMs: fixture.capabilities.delay === 'none' ? 0 : 86_400_000 })
    const [gone, stays] = [messageTo(queue), messageTo(queue)]
    await fixture.store([gone, delayed, stays])
    const ids = [gone.id, delayed.id, held.id, foreign.id, 'never-there']
    assert.equal(await fixture.withTimeout('cancel()', admin.cancel(queue.name, ids)), 2)
    assert.equal(await fixture.withTimeout('cancel()', admin.cancel(queue.name, ids)), 0)
    await fixture.ackAll(consumer, [delivery])
    await fixture.withTimeout('consumer.close()', consumer.close())
    assert.deepEqual(
      (await fixture.takeRemaining(queue)).map(({ id }) => id),
      [stays.id],
    )
    assert.equal((await fixture.takeRemaining(other)).length, 1)
  },
})

const promoting = ifPresent(feature.promote, {
  'promote makes the delayed jobs with these ids ready, and nothing else': async (fixture) => {
    const { admin } = fixture.broker
    assert.ok(admin.promote)
    const [queue, other] = [await fixture.queue(), await fixture.queue()]
    const later = { delayMs: 86_400_000 }
    const [promoted, stays, foreign] = [messageTo(queue, later), messageTo(queue, later), messageTo(other, later)]
    const ready = messageTo(queue)
    await fixture.store([promoted, stays, foreign, ready])
    const ids = [promoted.id, ready.id, foreign.id, 'never-there']
    assert.equal(await fixture.withTimeout('promote()', admin.promote(queue.name, [])), 0)
    assert.equal(await fixture.withTimeout('promote()', admin.promote(queue.name, ids)), 1)
    assert.equal(await fixture.withTimeout('promote()', admin.promote(queue.name, ids)), 0)
    const taken = (await fixture.takeRemaining(queue)).map(({ id }) => id)
    assert.deepEqual(taken.toSorted(), [promoted.id, ready.id].toSorted())
    assert.deepEqual(await fixture.takeRemaining(other), [])
  },

  'promote wakes a consumer that waits, and the job is unchanged': async (fixture) => {
    const { admin } = fixture.broker
    assert.ok(admin.promote)
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue], { prefetch: 1 })
    const delayed = messageTo(queue, { delayMs: 86_400_000, headers: { trace: 'a' } })
    await fixture.store([delayed])
    const taking = fixture.takeOne(consumer)
    assert.equal(await fixture.withTimeout('promote()', admin.promote(queue.name, [delayed.id])), 1)
    const delivery = await taking
    assert.deepEqual([delivery.id, textOf(delivery)], [delayed.id, textOf(delayed)])
    assert.deepEqual([delivery.headers['trace'], delivery.deliveryCount], ['a', 0])
    await fixture.ackAll(consumer, [delivery])
  },
})

/** Tests of `admin.jobs`, `admin.cancel` and `admin.promote`, if the broker has them. */
export const waitingJobs: Behaviours = {
  ...jobList,
  ...cancelling,
  ...promoting,

  'jobs, cancel, promote and compact of an unknown queue reject with ZYQ_QUEUE_NOT_FOUND': async (fixture) => {
    const { broker } = fixture
    const { jobs, cancel, promote, compact } = broker.admin
    const { name } = queueSpec()
    const calls = [
      jobs && (() => jobs.call(broker.admin, name, { limit: 1 })),
      cancel && (() => cancel.call(broker.admin, name, ['1'])),
      promote && (() => promote.call(broker.admin, name, ['1'])),
      compact && (() => compact.call(broker.admin, name)),
    ]
    for (const call of calls) {
      if (call !== undefined) await fixture.withTimeout('the call', expectCode(broker, 'ZYQ_QUEUE_NOT_FOUND', call))
    }
  },
}

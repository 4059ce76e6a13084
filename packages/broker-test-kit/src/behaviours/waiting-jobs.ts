import assert from 'node:assert/strict'
import type { StoredJob } from '@zyqueue/core/broker'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { expectCode } from '../calls.ts'
import { messageTo, numbered, queueSpec, textOf } from '../stage.ts'

const seen = ({ id, state }: StoredJob): string => `${state} ${id}`

const whatIsListed = having(feature.jobs, {
  'jobs are listed in the order in which they will run, whole, and no more than the limit': async (stage) => {
    const { admin } = stage.broker
    assert.ok(admin.jobs)
    const queue = await stage.queue()
    const held = messageTo(queue)
    await stage.store([held])
    const consumer = await stage.consumer([queue], { prefetch: 1 })
    const delivery = await stage.takeOne(consumer)
    const hasDelays = stage.capabilities.delay !== 'none'
    const delayed = messageTo(queue, { delayMs: 86_400_000 })
    const ready = ['first', 'second'].map((text) =>
      messageTo(queue, { body: new TextEncoder().encode(text), headers: { trace: text }, priority: 4 }),
    )
    await stage.store(hasDelays ? [delayed, ...ready] : ready)
    const expected = [`active ${held.id}`, ...ready.map(({ id }) => `ready ${id}`)]
    const jobs = await stage.settled('jobs()', admin.jobs(queue.name, { limit: 100 }))
    assert.deepEqual(jobs.map(seen), hasDelays ? [...expected, `delayed ${delayed.id}`] : expected)
    const second = jobs[2]
    assert.ok(second)
    assert.equal(textOf(second), 'second')
    assert.equal(second.queue, queue.name)
    assert.equal(second.headers['trace'], 'second')
    if (stage.capabilities.priorities > 1) assert.equal(second.priority, 4)
    const last = jobs.at(-1)
    if (hasDelays) {
      const dueMs = (last?.readyAtMs ?? 0) - Date.now()
      assert.ok(dueMs > 86_000_000 && dueMs < 87_000_000, 'readyAtMs is in milliseconds since 1970')
    }
    const few = await stage.settled('jobs()', admin.jobs(queue.name, { limit: 2 }))
    assert.deepEqual(few.map(seen), expected.slice(0, 2))
    await stage.ackAll(consumer, [delivery])
  },

  'to list jobs moves none': async (stage) => {
    const { admin } = stage.broker
    assert.ok(admin.jobs)
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(5))
    await stage.settled('jobs()', admin.jobs(queue.name, { limit: 3 }))
    assert.deepEqual((await stage.remaining(queue)).map(textOf), numbered(5))
  },
})

const whatIsCancelled = having(feature.cancel, {
  'to cancel deletes those of the ids that wait, and nothing else': async (stage) => {
    const { admin } = stage.broker
    assert.ok(admin.cancel)
    const queue = await stage.queue()
    const other = await stage.queue()
    const foreign = messageTo(other)
    const held = messageTo(queue)
    await stage.store([held, foreign])
    const consumer = await stage.consumer([queue], { prefetch: 1 })
    const delivery = await stage.takeOne(consumer)
    const delayed = messageTo(queue, { delayMs: stage.capabilities.delay === 'none' ? 0 : 86_400_000 })
    const [gone, stays] = [messageTo(queue), messageTo(queue)]
    await stage.store([gone, delayed, stays])
    const ids = [gone.id, delayed.id, held.id, foreign.id, 'never-there']
    assert.equal(await stage.settled('cancel()', admin.cancel(queue.name, ids)), 2)
    assert.equal(await stage.settled('cancel()', admin.cancel(queue.name, ids)), 0)
    await stage.ackAll(consumer, [delivery])
    await stage.settled('consumer.close()', consumer.close())
    assert.deepEqual(
      (await stage.remaining(queue)).map(({ id }) => id),
      [stays.id],
    )
    assert.equal((await stage.remaining(other)).length, 1)
  },
})

/** What `admin.jobs` and `admin.cancel` do if a broker has them. */
export const waitingJobs: Behaviours = {
  ...whatIsListed,
  ...whatIsCancelled,

  'to list, cancel or compact in a queue that nobody declared rejects with ZYQ_QUEUE_NOT_FOUND': async (stage) => {
    const { broker } = stage
    const { jobs, cancel, compact } = broker.admin
    const { name } = queueSpec()
    const calls = [
      jobs && (() => jobs.call(broker.admin, name, { limit: 1 })),
      cancel && (() => cancel.call(broker.admin, name, ['1'])),
      compact && (() => compact.call(broker.admin, name)),
    ]
    for (const call of calls) {
      if (call !== undefined) await stage.settled('it', expectCode(broker, 'ZYQ_QUEUE_NOT_FOUND', call))
    }
  },
}

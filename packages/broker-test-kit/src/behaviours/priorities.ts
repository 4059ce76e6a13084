import assert from 'node:assert/strict'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { bytesOf, messageTo, textOf } from '../test-data.ts'

const allPriorities = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

const whereTheyAreKept = ifPresent(
  feature.priorities,
  ifPresent(feature.order, {
    'higher priorities arrive first, and earlier jobs first within a level': async (fixture) => {
      const queue = await fixture.queue()
      const shuffled = [4, 9, 0, 7, 2, 5, 1, 8, 3, 6]
      const sent = [...shuffled, ...shuffled.toReversed()].map((priority, index) => ({ priority, body: `${index}` }))
      await fixture.store(sent.map(({ priority, body }) => messageTo(queue, { priority, body: bytesOf(body) })))
      const consumer = await fixture.consumer([queue], { prefetch: sent.length })
      const order = (await fixture.take(consumer, sent.length)).map(textOf)
      const levels = fixture.capabilities.priorities
      const possible = partitionsOfPriorities(levels).map((levelOf) =>
        sent.toSorted((a, b) => (levelOf[b.priority] ?? 0) - (levelOf[a.priority] ?? 0)).map(({ body }) => body),
      )
      const asSeen = order.map((body) => sent[Number(body)]?.priority).join(' ')
      assert.ok(
        possible.some((expected) => expected.join() === order.join()),
        `no division of the priorities into ${levels} levels explains the order ${asSeen}`,
      )
    },

    'a later job with a higher priority overtakes waiting jobs': async (fixture) => {
      const queue = await fixture.queue()
      for (const priority of allPriorities)
        await fixture.store([messageTo(queue, { priority, body: bytesOf(`${priority}`) })])
      const consumer = await fixture.consumer([queue])
      const order = (await fixture.take(consumer, 10)).map((delivery) => Number(textOf(delivery)))
      assert.ok(order.indexOf(9) < order.indexOf(0), 'priority 9 must arrive before priority 0')
      if (fixture.capabilities.priorities === 10) assert.deepEqual(order, allPriorities.toReversed())
    },

    'a released or requeued job is ahead of jobs with a lower priority': async (fixture) => {
      const queue = await fixture.queue()
      // The normal priority is a separate level only if there are ten.
      const lower = fixture.capabilities.priorities === 10 ? 4 : 0
      const [high, low] = [messageTo(queue, { priority: 9 }), messageTo(queue, { priority: lower })]
      await fixture.store([low, high])
      const consumer = await fixture.consumer([queue], { prefetch: 1 })
      const first = await fixture.takeOne(consumer)
      await fixture.release(consumer, { delivery: first, delayMs: 0, headers: { 'x-note': 'new' } })
      const second = await fixture.takeOne(consumer)
      assert.deepEqual(
        [first.id, second.id],
        [high.id, high.id],
        'the higher priority must be first, also after a release',
      )
      const isKept = fixture.capabilities.deadLetter !== 'none'
      if (isKept) {
        await fixture.reject(consumer, { delivery: second, reason: 'ZYQ_JOB_FAILED' })
        await fixture.withTimeout('requeue()', fixture.broker.admin.deadLetters.requeue(queue.name))
      } else await fixture.ackAll(consumer, [second])
      await fixture.withTimeout('consumer.close()', consumer.close())
      const order = (await fixture.takeRemaining(queue)).map(({ id }) => id)
      assert.deepEqual(
        order,
        isKept ? [high.id, low.id] : [low.id],
        'the higher priority must be first, also after a requeue',
      )
    },
  }),
)

export const priorities: Behaviours = {
  ...whereTheyAreKept,
  'a delivery has its exact priority if there are ten levels': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.store(allPriorities.map((priority) => messageTo(queue, { priority, body: bytesOf(`${priority}`) })))
    const consumer = await fixture.consumer([queue])
    for (const delivery of await fixture.take(consumer, 10)) {
      assert.ok(allPriorities.includes(delivery.priority), `priority ${delivery.priority}`)
      if (fixture.capabilities.priorities === 10) assert.equal(delivery.priority, Number(textOf(delivery)))
    }
  },

  'jobs of every priority arrive': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.store(allPriorities.map((priority) => messageTo(queue, { priority, body: bytesOf(`${priority}`) })))
    const consumer = await fixture.consumer([queue])
    assert.deepEqual((await fixture.take(consumer, 10)).map(textOf).toSorted(), allPriorities.map(String))
  },
}

/** Every division of the ten priorities into `levels` ranges, as the level of each priority. */
function partitionsOfPriorities(levels: number): readonly (readonly number[])[] {
  let partial: readonly (readonly number[])[] = [[0]]
  for (let priority = 1; priority < allPriorities.length; priority++) {
    partial = partial.flatMap((levelOf) => {
      const last = levelOf.at(-1) ?? 0
      return [
        [...levelOf, last],
        [...levelOf, last + 1],
      ]
    })
  }
  return partial.filter((levelOf) => levelOf.at(-1) === levels - 1)
}

import assert from 'node:assert/strict'
import type { Behaviours } from '../behaviour.ts'
import { bytesOf, messageTo, textOf } from '../stage.ts'

const allPriorities = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

export const priorities: Behaviours = {
  'the higher priority arrives first, within one level the earlier': async (stage) => {
    const queue = await stage.queue()
    const shuffled = [4, 9, 0, 7, 2, 5, 1, 8, 3, 6]
    const sent = [...shuffled, ...shuffled.toReversed()].map((priority, index) => ({ priority, body: `${index}` }))
    await stage.store(sent.map(({ priority, body }) => messageTo(queue, { priority, body: bytesOf(body) })))
    const consumer = await stage.consumer([queue], { prefetch: sent.length })
    const order = (await stage.take(consumer, sent.length)).map(textOf)
    const levels = stage.capabilities.priorities
    if (levels === 1 || stage.capabilities.ordered === false) {
      assert.deepEqual(order.toSorted(), sent.map(({ body }) => body).toSorted())
      return
    }
    const possible = partitionsOfPriorities(levels).map((levelOf) =>
      sent.toSorted((a, b) => (levelOf[b.priority] ?? 0) - (levelOf[a.priority] ?? 0)).map(({ body }) => body),
    )
    const asSeen = order.map((body) => sent[Number(body)]?.priority).join(' ')
    assert.ok(
      possible.some((expected) => expected.join() === order.join()),
      `no division of the priorities into ${levels} levels explains the order ${asSeen}`,
    )
  },

  'a delivery tells its priority where all ten are kept': async (stage) => {
    const queue = await stage.queue()
    await stage.store(allPriorities.map((priority) => messageTo(queue, { priority, body: bytesOf(`${priority}`) })))
    const consumer = await stage.consumer([queue])
    for (const delivery of await stage.take(consumer, 10)) {
      assert.ok(allPriorities.includes(delivery.priority), `priority ${delivery.priority}`)
      if (stage.capabilities.priorities === 10) assert.equal(delivery.priority, Number(textOf(delivery)))
    }
  },

  'a job that comes later with a higher priority overtakes those that wait': async (stage) => {
    const queue = await stage.queue()
    for (const priority of allPriorities)
      await stage.store([messageTo(queue, { priority, body: bytesOf(`${priority}`) })])
    const consumer = await stage.consumer([queue])
    const order = (await stage.take(consumer, 10)).map((delivery) => Number(textOf(delivery)))
    if (stage.capabilities.ordered === false) return
    if (stage.capabilities.priorities > 1) assert.ok(order.indexOf(9) < order.indexOf(0), '9 before 0')
    if (stage.capabilities.priorities === 10) assert.deepEqual(order, allPriorities.toReversed())
  },
}

/** Each way to divide the ten priorities into `levels` runs of neighbours, as the level of each priority. */
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

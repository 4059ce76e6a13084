import assert from 'node:assert/strict'
import type { Consumer, Delivery, SettleResult } from '@zyqueue/core/broker'
import type { Behaviours } from '../behaviour.ts'
import { expectStatuses } from '../expect-statuses.ts'
import { numbered, textOf, type Stage } from '../stage.ts'

const settlements = ['ack', 'release', 'reject'] as const
type Settlement = (typeof settlements)[number]

/** Settles deliveries in one of the three ways. */
export function settleBy(
  way: Settlement,
  consumer: Consumer,
  deliveries: readonly Delivery[],
): Promise<readonly SettleResult[]> {
  if (way === 'ack') return consumer.ack(deliveries)
  if (way === 'release') return consumer.release(deliveries.map((delivery) => ({ delivery, delayMs: 0 })))
  return consumer.reject(deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_JOB_FAILED: settled by the kit' })))
}

export const settle: Behaviours = {
  'ack ends a job': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'one', 'other')
    const { consumer, delivery } = await stage.takeOneOf(queue)
    await stage.ackAll(consumer, [delivery])
    await stage.settled('consumer.close()', consumer.close())
    assert.deepEqual((await stage.remaining(queue)).map(textOf), [textOf(delivery) === 'one' ? 'other' : 'one'])
  },

  'an empty list has no results': async (stage) => {
    const consumer = await stage.consumer([await stage.queue()])
    for (const way of settlements) assert.deepEqual(await stage.settled(way, settleBy(way, consumer, [])), [])
  },

  'results are in the order of the deliveries, a stale one among them': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(12))
    const consumer = await stage.consumer([queue], { prefetch: 12 })
    const deliveries = await stage.take(consumer, 12)
    for (const [index, way] of settlements.entries()) {
      const four = deliveries.slice(4 * index, 4 * index + 4)
      await stage.ackAll(consumer, four.slice(1, 2))
      const results = await stage.settled(way, settleBy(way, consumer, four))
      // Neither reversed nor sorted are these the same.
      expectStatuses(`${way}()`, four, results, ['ok', 'lease-lost', 'ok', 'ok'])
    }
    await stage.settled('consumer.close()', consumer.close())
    assert.deepEqual((await stage.remaining(queue)).map(textOf).toSorted(), ['4', '6', '7'], 'the released are there')
  },

  ...Object.fromEntries(
    settlements.flatMap((first) =>
      settlements.map((second) => [
        `${second} after ${first} is lease-lost and changes nothing`,
        async (stage: Stage) => expectSecondIsStale(stage, first, second),
      ]),
    ),
  ),

  'deliveries may be settled in any order, and each way at once': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(9))
    const consumer = await stage.consumer([queue])
    const deliveries = (await stage.take(consumer, 9)).toReversed()
    const results = await stage.settled(
      'the settlements',
      Promise.all(settlements.map((way, index) => settleBy(way, consumer, deliveries.slice(3 * index, 3 * index + 3)))),
    )
    expectStatuses('the settlements', deliveries, results.flat(), 'ok')
    await stage.settled('consumer.close()', consumer.close())
    assert.deepEqual((await stage.remaining(queue)).map(textOf).toSorted(), ['3', '4', '5'], 'the released are there')
  },

  'one call settles any number': async (stage) => {
    const queue = await stage.queue()
    const count = 1500
    await stage.storeBodies(queue, ...numbered(count))
    const consumer = await stage.consumer([queue], { prefetch: count })
    await stage.ackAll(consumer, await stage.take(consumer, count))
    await stage.expectNoneReady(queue, consumer)
  },

  'a consumer may settle while its receive waits': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'held')
    const { consumer, delivery } = await stage.takeOneOf(queue)
    const receiving = stage.later(consumer.receive(1, { signal: new AbortController().signal }))
    await stage.ackAll(consumer, [delivery])
    assert.deepEqual(await stage.settled('receive()', receiving), [])
    await stage.expectNoneReady(queue)
  },
}

async function expectSecondIsStale(stage: Stage, first: Settlement, second: Settlement): Promise<void> {
  const queue = await stage.queue()
  await stage.storeBodies(queue, 'job')
  const { consumer, delivery } = await stage.takeOneOf(queue)
  const settleOnce = async (way: Settlement, expected: string): Promise<void> =>
    expectStatuses(`${way}()`, [delivery], await stage.settled(way, settleBy(way, consumer, [delivery])), expected)
  await settleOnce(first, 'ok')
  await settleOnce(second, 'lease-lost')
  await stage.settled('consumer.close()', consumer.close())
  const dead = await stage.settled('deadLetters.list()', stage.broker.admin.deadLetters.list(queue.name, { limit: 10 }))
  const isKept = first === 'reject' && stage.capabilities.deadLetter !== 'none'
  assert.equal(dead.length, isKept ? 1 : 0, 'dead letters')
  assert.deepEqual((await stage.remaining(queue)).map(textOf), first === 'release' ? ['job'] : [])
}

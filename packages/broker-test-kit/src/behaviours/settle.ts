import assert from 'node:assert/strict'
import type { Consumer, Delivery, SettleResult } from '@zyqueue/core/broker'
import type { Behaviours } from '../behaviour.ts'
import { expectStatuses } from '../expect-statuses.ts'
import type { Fixture } from '../fixture.ts'
import { numericBodies, textOf } from '../test-data.ts'

const settlements = ['ack', 'release', 'reject'] as const
type Settlement = (typeof settlements)[number]

/** Settles deliveries with the given method. */
export function settleWith(
  method: Settlement,
  consumer: Consumer,
  deliveries: readonly Delivery[],
): Promise<readonly SettleResult[]> {
  if (method === 'ack') return consumer.ack(deliveries)
  if (method === 'release') return consumer.release(deliveries.map((delivery) => ({ delivery, delayMs: 0 })))
  return consumer.reject(deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_JOB_FAILED: settled by the kit' })))
}

export const settle: Behaviours = {
  'ack ends a job': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'one', 'other')
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    await fixture.ackAll(consumer, [delivery])
    await fixture.withTimeout('consumer.close()', consumer.close())
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), [textOf(delivery) === 'one' ? 'other' : 'one'])
  },

  'settling an empty list returns no results': async (fixture) => {
    const consumer = await fixture.consumer([await fixture.queue()])
    for (const method of settlements)
      assert.deepEqual(await fixture.withTimeout(method, settleWith(method, consumer, [])), [])
  },

  'results are in the order of the deliveries, also if one is lease-lost': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(12))
    const consumer = await fixture.consumer([queue], { prefetch: 12 })
    const deliveries = await fixture.take(consumer, 12)
    for (const [index, method] of settlements.entries()) {
      const four = deliveries.slice(4 * index, 4 * index + 4)
      await fixture.ackAll(consumer, four.slice(1, 2))
      const results = await fixture.withTimeout(method, settleWith(method, consumer, four))
      // Reversed or sorted results differ from these.
      expectStatuses(`${method}()`, four, results, ['ok', 'lease-lost', 'ok', 'ok'])
    }
    await fixture.withTimeout('consumer.close()', consumer.close())
    assert.deepEqual(
      (await fixture.takeRemaining(queue)).map(textOf).toSorted(),
      ['4', '6', '7'],
      'the released jobs must be in the queue',
    )
  },

  ...Object.fromEntries(
    settlements.flatMap((first) =>
      settlements.map((second) => [
        `${second} after ${first} is lease-lost and changes nothing`,
        async (fixture: Fixture) => expectSecondIsStale(fixture, first, second),
      ]),
    ),
  ),

  'deliveries may be settled in any order, with concurrent ack, release and reject': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(9))
    const consumer = await fixture.consumer([queue])
    const deliveries = (await fixture.take(consumer, 9)).toReversed()
    const results = await fixture.withTimeout(
      'the settlements',
      Promise.all(
        settlements.map((method, index) => settleWith(method, consumer, deliveries.slice(3 * index, 3 * index + 3))),
      ),
    )
    expectStatuses('the settlements', deliveries, results.flat(), 'ok')
    await fixture.withTimeout('consumer.close()', consumer.close())
    assert.deepEqual(
      (await fixture.takeRemaining(queue)).map(textOf).toSorted(),
      ['3', '4', '5'],
      'the released jobs must be in the queue',
    )
  },

  'one call may settle 1,500 deliveries': async (fixture) => {
    const queue = await fixture.queue()
    const count = 1500
    await fixture.storeBodies(queue, ...numericBodies(count))
    const consumer = await fixture.consumer([queue], { prefetch: count })
    await fixture.ackAll(consumer, await fixture.take(consumer, count))
    await fixture.expectNoneReady(queue, consumer)
  },

  'a consumer may settle while its receive is pending': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'held')
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    const receiving = fixture.inBackground(consumer.receive(1, { signal: new AbortController().signal }))
    await fixture.ackAll(consumer, [delivery])
    assert.deepEqual(await fixture.withTimeout('receive()', receiving), [])
    await fixture.expectNoneReady(queue)
  },
}

async function expectSecondIsStale(fixture: Fixture, first: Settlement, second: Settlement): Promise<void> {
  const queue = await fixture.queue()
  await fixture.storeBodies(queue, 'job')
  const { consumer, delivery } = await fixture.takeOneOf(queue)
  const settleOnce = async (method: Settlement, expected: string): Promise<void> =>
    expectStatuses(
      `${method}()`,
      [delivery],
      await fixture.withTimeout(method, settleWith(method, consumer, [delivery])),
      expected,
    )
  await settleOnce(first, 'ok')
  await settleOnce(second, 'lease-lost')
  await fixture.withTimeout('consumer.close()', consumer.close())
  const dead = await fixture.withTimeout(
    'deadLetters.list()',
    fixture.broker.admin.deadLetters.list(queue.name, { limit: 10 }),
  )
  const isKept = first === 'reject' && fixture.capabilities.deadLetter !== 'none'
  assert.equal(dead.length, isKept ? 1 : 0, 'dead letters')
  assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), first === 'release' ? ['job'] : [])
}

import assert from 'node:assert/strict'
import { feature, having, lacking, type Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { expectStatuses, nameOf } from '../expect-statuses.ts'
import { bytesOf, entriesOf, messageTo, textOf, type Stage } from '../stage.ts'

/** Clocks of two machines, and of two libraries, round differently. */
const roundingMs = 20

export const release: Behaviours = {
  'a released job is ready again at once, whole, and counts no delivery': async (stage) => {
    const queue = await stage.queue()
    const headers = { 'zyq-task': 'resize', 'zyq-attempt': '1' }
    const message = messageTo(queue, { body: bytesOf('again'), headers, priority: 7 })
    await stage.store([message])
    const consumer = await stage.consumer([queue])
    const first = await stage.takeOne(consumer)
    let again = first
    for (let round = 0; round < 3; round++) {
      await stage.release(consumer, { delivery: again, delayMs: 0 })
      again = await stage.takeOne(consumer)
    }
    assert.equal(again.id, message.id)
    assert.equal(textOf(again), 'again')
    assert.deepEqual({ ...again.headers }, headers)
    assert.equal(again.priority, first.priority)
    assert.equal(again.deliveryCount, 0)
    await stage.ackAll(consumer, [again])
    await stage.expectNoneReady(queue, consumer)
  },

  ...having(feature.nativeRelease, {
    'a released job goes back to where it stood': async (stage) => {
      assert.deepEqual(await orderAfterRelease(stage), ['a', 'b', 'c'])
    },
  }),

  ...lacking(feature.nativeRelease, {
    'a released job stays in its queue, wherever it stands': async (stage) => {
      assert.deepEqual((await orderAfterRelease(stage)).toSorted(), ['a', 'b', 'c'])
    },
  }),

  'a released job goes to whoever is there': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const { consumer, delivery } = await stage.takeOneOf(queue)
    const other = await stage.consumer([queue], { broker: await stage.connectedBroker() })
    const taking = stage.later(stage.takeOne(other))
    await stage.release(consumer, { delivery, delayMs: 0 })
    await stage.settled('consumer.close()', consumer.close())
    assert.equal(textOf(await taking), 'job')
  },

  'release with headers replaces all headers, and keeps the priority': async (stage) => {
    const queue = await stage.queue()
    await stage.store([messageTo(queue, { headers: { 'zyq-attempt': '0', 'x-old': 'gone' }, priority: 8 })])
    const { consumer, delivery } = await stage.takeOneOf(queue)
    const headers = { 'zyq-attempt': '1', 'x-new': 'ü', ['__proto__']: 'a word' }
    await stage.release(consumer, { delivery, delayMs: 0, headers })
    const again = await stage.takeOne(consumer)
    assert.deepEqual(entriesOf(again.headers), entriesOf(headers))
    assert.equal(again.priority, delivery.priority, `the priority of ${nameOf(again)}`)
    await stage.release(consumer, { delivery: again, delayMs: 0, headers: {} })
    const last = await stage.takeOne(consumer)
    assert.deepEqual({ ...last.headers }, {})
    assert.equal(last.priority, delivery.priority, `the priority of ${nameOf(last)}`)
  },

  ...having(feature.delays, {
    'a release with a delay is not early, and keeps the priority': async (stage) => {
      const queue = await stage.queue()
      await stage.store([messageTo(queue, { headers: { 'zyq-attempt': '0' }, priority: 8 })])
      const { consumer, delivery } = await stage.takeOneOf(queue)
      const releasedAt = performance.now()
      const headers = { 'zyq-attempt': '1' }
      await stage.release(consumer, { delivery, delayMs: 400, headers })
      const again = await stage.takeOne(consumer)
      assert.ok(performance.now() - releasedAt >= 400 - roundingMs, 'it is not early')
      assert.equal(again.id, delivery.id)
      assert.deepEqual({ ...again.headers }, headers)
      assert.equal(again.priority, delivery.priority, `the priority of ${nameOf(again)}`)
      assert.equal(again.deliveryCount, 0)
      await stage.ackAll(consumer, [again])
    },
    'releases of one call may differ': async (stage) => {
      const queue = await stage.queue()
      await stage.storeBodies(queue, 'now', 'tomorrow', 'changed')
      const consumer = await stage.consumer([queue])
      const [now, tomorrow, changed] = await stage.take(consumer, 3)
      assert.ok(now && tomorrow && changed)
      const results = await stage.settled(
        'release()',
        consumer.release([
          { delivery: now, delayMs: 0 },
          { delivery: tomorrow, delayMs: 86_400_000 },
          { delivery: changed, delayMs: 0, headers: { 'x-note': 'changed' } },
        ]),
      )
      expectStatuses('release()', [now, tomorrow, changed], results, 'ok')
      await stage.settled('consumer.close()', consumer.close())
      const found = await stage.remaining(queue)
      assert.deepEqual(Object.fromEntries(found.map((again) => [textOf(again), again.headers['x-note']])), {
        changed: 'changed',
        now: undefined,
      })
      assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 1)
    },
  }),

  ...lacking(feature.delays, {
    'a release with a delay is refused, and settles nothing': async (stage) => {
      const queue = await stage.queue()
      await stage.storeBodies(queue, 'job')
      const { consumer, delivery } = await stage.takeOneOf(queue)
      const outcome = await stage.settled(
        'release()',
        outcomeOf(() => consumer.release([{ delivery, delayMs: 400 }])),
      )
      assert.ok('error' in outcome, 'a delay that cannot be kept is refused')
      await stage.ackAll(consumer, [delivery])
    },
  }),
}

/** The jobs a, b, c of a queue, in the order in which they stand after the first was released. */
async function orderAfterRelease(stage: Stage): Promise<readonly string[]> {
  const queue = await stage.queue()
  await stage.storeBodies(queue, 'a', 'b', 'c')
  const consumer = await stage.consumer([queue], { prefetch: 1 })
  await stage.release(consumer, { delivery: await stage.takeOne(consumer), delayMs: 0 })
  await stage.settled('consumer.close()', consumer.close())
  return (await stage.remaining(queue)).map(textOf)
}

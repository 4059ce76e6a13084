import assert from 'node:assert/strict'
import { feature, ifPresent, ifAbsent, type Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { expectStatuses, nameOf } from '../expect-statuses.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, entriesOf, messageTo, textOf } from '../test-data.ts'

/** Clocks of different machines and libraries round differently. */
const roundingMs = 20

export const release: Behaviours = {
  'a released job is ready at once, unchanged, and counts no lost delivery': async (fixture) => {
    const queue = await fixture.queue()
    const headers = { 'zyq-task': 'resize', 'zyq-attempt': '1' }
    const message = messageTo(queue, { body: bytesOf('again'), headers, priority: 7 })
    await fixture.store([message])
    const consumer = await fixture.consumer([queue])
    const first = await fixture.takeOne(consumer)
    let again = first
    for (let round = 0; round < 3; round++) {
      await fixture.release(consumer, { delivery: again, delayMs: 0 })
      again = await fixture.takeOne(consumer)
    }
    assert.equal(again.id, message.id)
    assert.equal(textOf(again), 'again')
    assert.deepEqual({ ...again.headers }, headers)
    assert.equal(again.priority, first.priority)
    assert.equal(again.deliveryCount, 0)
    await fixture.ackAll(consumer, [again])
    await fixture.expectNoneReady(queue, consumer)
  },

  ...ifPresent(feature.nativeRelease, {
    'a released job returns to its old place': async (fixture) => {
      assert.deepEqual(await orderAfterRelease(fixture), ['a', 'b', 'c'])
    },
  }),

  ...ifAbsent(feature.nativeRelease, {
    'a released job stays in its queue, at any place': async (fixture) => {
      assert.deepEqual((await orderAfterRelease(fixture)).toSorted(), ['a', 'b', 'c'])
    },
  }),

  'a released job goes to another waiting consumer': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'job')
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    const other = await fixture.consumer([queue], { broker: await fixture.connectedBroker() })
    const taking = fixture.inBackground(fixture.takeOne(other))
    await fixture.release(consumer, { delivery, delayMs: 0 })
    await fixture.withTimeout('consumer.close()', consumer.close())
    assert.equal(textOf(await taking), 'job')
  },

  'release with headers replaces all headers and keeps the priority': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.store([messageTo(queue, { headers: { 'zyq-attempt': '0', 'x-old': 'gone' }, priority: 8 })])
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    const headers = { 'zyq-attempt': '1', 'x-new': 'ü', ['__proto__']: 'a word' }
    await fixture.release(consumer, { delivery, delayMs: 0, headers })
    const again = await fixture.takeOne(consumer)
    assert.deepEqual(entriesOf(again.headers), entriesOf(headers))
    assert.equal(again.priority, delivery.priority, `the priority of ${nameOf(again)}`)
    await fixture.release(consumer, { delivery: again, delayMs: 0, headers: {} })
    const last = await fixture.takeOne(consumer)
    assert.deepEqual({ ...last.headers }, {})
    assert.equal(last.priority, delivery.priority, `the priority of ${nameOf(last)}`)
  },

  ...ifPresent(feature.delays, {
    'a job released with a delay is not early and keeps its priority': async (fixture) => {
      const queue = await fixture.queue()
      await fixture.store([messageTo(queue, { headers: { 'zyq-attempt': '0' }, priority: 8 })])
      const { consumer, delivery } = await fixture.takeOneOf(queue)
      const releasedAt = performance.now()
      const headers = { 'zyq-attempt': '1' }
      await fixture.release(consumer, { delivery, delayMs: 400, headers })
      const again = await fixture.takeOne(consumer)
      assert.ok(performance.now() - releasedAt >= 400 - roundingMs, 'the job arrived early')
      assert.equal(again.id, delivery.id)
      assert.deepEqual({ ...again.headers }, headers)
      assert.equal(again.priority, delivery.priority, `the priority of ${nameOf(again)}`)
      assert.equal(again.deliveryCount, 0)
      await fixture.ackAll(consumer, [again])
    },
    'one release call may have different delays and headers': async (fixture) => {
      const queue = await fixture.queue()
      await fixture.storeBodies(queue, 'now', 'tomorrow', 'changed')
      const consumer = await fixture.consumer([queue])
      const [now, tomorrow, changed] = await fixture.take(consumer, 3)
      assert.ok(now && tomorrow && changed)
      const results = await fixture.withTimeout(
        'release()',
        consumer.release([
          { delivery: now, delayMs: 0 },
          { delivery: tomorrow, delayMs: 86_400_000 },
          { delivery: changed, delayMs: 0, headers: { 'x-note': 'changed' } },
        ]),
      )
      expectStatuses('release()', [now, tomorrow, changed], results, 'ok')
      await fixture.withTimeout('consumer.close()', consumer.close())
      const found = await fixture.takeRemaining(queue)
      assert.deepEqual(Object.fromEntries(found.map((again) => [textOf(again), again.headers['x-note']])), {
        changed: 'changed',
        now: undefined,
      })
      assert.equal(await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name)), 1)
    },
  }),

  ...ifAbsent(feature.delays, {
    'a release with a delay is refused and settles nothing': async (fixture) => {
      const queue = await fixture.queue()
      await fixture.storeBodies(queue, 'job')
      const { consumer, delivery } = await fixture.takeOneOf(queue)
      const outcome = await fixture.withTimeout(
        'release()',
        outcomeOf(() => consumer.release([{ delivery, delayMs: 400 }])),
      )
      assert.ok('error' in outcome, 'a broker without delays must refuse a delay')
      await fixture.ackAll(consumer, [delivery])
    },
  }),
}

/** The order of the jobs a, b and c of a queue after the first was released. */
async function orderAfterRelease(fixture: Fixture): Promise<readonly string[]> {
  const queue = await fixture.queue()
  await fixture.storeBodies(queue, 'a', 'b', 'c')
  const consumer = await fixture.consumer([queue], { prefetch: 1 })
  await fixture.release(consumer, { delivery: await fixture.takeOne(consumer), delayMs: 0 })
  await fixture.withTimeout('consumer.close()', consumer.close())
  return (await fixture.takeRemaining(queue)).map(textOf)
}

import assert from 'node:assert/strict'
import type { Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { bytesOf, entriesOf, messageTo, textOf } from '../stage.ts'

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
      const released = await stage.settled('release()', consumer.release([{ delivery: again, delayMs: 0 }]))
      assert.deepEqual(released, [{ status: 'ok' }])
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

  'a released job goes back to where it stood, where release is native': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'a', 'b', 'c')
    const consumer = await stage.consumer([queue], { prefetch: 1 })
    const first = await stage.takeOne(consumer)
    await stage.settled('release()', consumer.release([{ delivery: first, delayMs: 0 }]))
    await stage.settled('consumer.close()', consumer.close())
    const order = (await stage.remaining(queue)).map(textOf)
    if (stage.capabilities.release === 'native') assert.deepEqual(order, ['a', 'b', 'c'])
    else assert.deepEqual(order.toSorted(), ['a', 'b', 'c'])
  },

  'a released job goes to whoever is there': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const { consumer, delivery } = await stage.takeOneOf(queue)
    const other = await stage.consumer([queue], { broker: await stage.connectedBroker() })
    const taking = stage.later(stage.takeOne(other))
    await stage.settled('release()', consumer.release([{ delivery, delayMs: 0 }]))
    await stage.settled('consumer.close()', consumer.close())
    assert.equal(textOf(await taking), 'job')
  },

  'release with headers replaces all headers': async (stage) => {
    const queue = await stage.queue()
    await stage.store([messageTo(queue, { headers: { 'zyq-attempt': '0', 'x-old': 'gone' } })])
    const { consumer, delivery } = await stage.takeOneOf(queue)
    const headers = { 'zyq-attempt': '1', 'x-new': 'ü', ['__proto__']: 'a word' }
    await stage.settled('release()', consumer.release([{ delivery, delayMs: 0, headers }]))
    const again = await stage.takeOne(consumer)
    assert.deepEqual(entriesOf(again.headers), entriesOf(headers))
    await stage.settled('release()', consumer.release([{ delivery: again, delayMs: 0, headers: {} }]))
    assert.deepEqual({ ...(await stage.takeOne(consumer)).headers }, {})
  },

  'a release with a delay is not early, or is refused where there are no delays': async (stage) => {
    const queue = await stage.queue()
    await stage.store([messageTo(queue, { body: bytesOf('later'), headers: { 'zyq-attempt': '0' } })])
    const { consumer, delivery } = await stage.takeOneOf(queue)
    const releasedAt = performance.now()
    const headers = { 'zyq-attempt': '1' }
    const outcome = await stage.settled(
      'release()',
      outcomeOf(() => consumer.release([{ delivery, delayMs: 400, headers }])),
    )
    if (stage.capabilities.delay === 'none') {
      assert.ok('error' in outcome, 'a delay that cannot be kept is refused')
      await stage.ackAll(consumer, [delivery])
      return
    }
    assert.deepEqual(outcome, { value: [{ status: 'ok' }] })
    const again = await stage.takeOne(consumer)
    assert.ok(performance.now() - releasedAt >= 400 - roundingMs, 'it is not early')
    assert.equal(textOf(again), 'later')
    assert.deepEqual({ ...again.headers }, headers)
    assert.equal(again.deliveryCount, 0)
    await stage.ackAll(consumer, [again])
  },

  'releases of one call may differ': async (stage) => {
    if (stage.capabilities.delay === 'none') return
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
    assert.deepEqual(results, [{ status: 'ok' }, { status: 'ok' }, { status: 'ok' }])
    await stage.settled('consumer.close()', consumer.close())
    const found = await stage.remaining(queue)
    assert.deepEqual(Object.fromEntries(found.map((again) => [textOf(again), again.headers['x-note']])), {
      changed: 'changed',
      now: undefined,
    })
    assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 1)
  },
}

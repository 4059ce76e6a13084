import assert from 'node:assert/strict'
import { feature, having, lacking, type Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { expectStatuses } from '../expect-statuses.ts'
import { bytesOf, entriesOf, messageTo, textOf } from '../stage.ts'

/** Clocks of two machines, and of two libraries, round differently. */
const roundingMs = 20
const dayMs = 86_400_000

const whereDelaysAre = having(feature.delays, {
  'a delayed job is not early, and comes': async (stage) => {
    const queue = await stage.queue()
    const publishedAt = performance.now()
    await stage.store([messageTo(queue, { delayMs: 500 })])
    const { consumer, delivery } = await stage.takeOneOf(queue)
    assert.ok(performance.now() - publishedAt >= 500 - roundingMs, 'it is not early')
    assert.equal(delivery.deliveryCount, 0)
    await stage.ackAll(consumer, [delivery])
    await stage.expectNoneReady(queue, consumer)
  },

  'a delayed job comes to a receive that waits already': async (stage) => {
    const queue = await stage.queue()
    const consumer = await stage.consumer([queue])
    const taking = stage.later(stage.takeOne(consumer))
    await stage.store([messageTo(queue, { delayMs: 200, body: bytesOf('later') })])
    assert.equal(textOf(await taking), 'later')
  },

  'a delayed job does not hold up the others': async (stage) => {
    const queue = await stage.queue()
    const delayed = messageTo(queue, { delayMs: dayMs, priority: 9 })
    await stage.store([delayed])
    await stage.storeBodies(queue, 'a', 'b')
    assert.deepEqual((await stage.remaining(queue)).map(textOf), ['a', 'b'])
    assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 1)
  },

  'a shorter delay is over while longer ones, stored before and after it, go on': async (stage) => {
    const queue = await stage.queue()
    const messages = [
      messageTo(queue, { delayMs: dayMs, body: bytesOf('tomorrow') }),
      messageTo(queue, { delayMs: 200, body: bytesOf('soon') }),
      messageTo(queue, { delayMs: 30 * dayMs, body: bytesOf('in a month') }),
    ]
    await stage.store(messages)
    const { consumer, delivery } = await stage.takeOneOf(queue)
    assert.equal(textOf(delivery), 'soon')
    await stage.ackAll(consumer, [delivery])
    await stage.expectNoneReady(queue, consumer)
    assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 2)
  },

  'of two delays of one queue each comes in its time': async (stage) => {
    const queue = await stage.queue()
    const publishedAt = performance.now()
    const messages = [
      messageTo(queue, { delayMs: 1500, body: bytesOf('1500') }),
      messageTo(queue, { delayMs: 200, body: bytesOf('200') }),
    ]
    await stage.store(messages)
    const consumer = await stage.consumer([queue])
    for (let left = 2; left > 0; left--) {
      const delivery = await stage.takeOne(consumer)
      assert.ok(performance.now() - publishedAt >= Number(textOf(delivery)) - roundingMs, 'it is not early')
      await stage.ackAll(consumer, [delivery])
    }
    await stage.expectNoneReady(queue, consumer)
  },

  'a delay of thirty days is kept': async (stage) => {
    const queue = await stage.queue()
    await stage.store([messageTo(queue, { delayMs: 30 * dayMs })])
    await stage.expectNoneReady(queue)
    await stage.pass(100)
    await stage.expectNoneReady(queue)
    assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 1)
  },

  'a delayed job keeps its body, headers, id and priority': async (stage) => {
    const queue = await stage.queue()
    const message = messageTo(queue, {
      delayMs: 150,
      priority: 8,
      headers: { 'x-note': 'grün', ['__proto__']: 'a word' },
      body: Uint8Array.of(0, 0xff, 0),
    })
    await stage.store([message])
    const { delivery } = await stage.takeOneOf(queue)
    assert.equal(delivery.id, message.id)
    assert.deepEqual([...delivery.body], [0, 0xff, 0])
    assert.deepEqual(entriesOf(delivery.headers), entriesOf(message.headers))
    if (stage.capabilities.priorities === 10) assert.equal(delivery.priority, 8)
  },

  'a delay outlives the broker object that published it': async (stage) => {
    const queue = await stage.queue()
    const producer = await stage.connectedBroker()
    const publishing = stage.later(producer.publish([messageTo(queue, { delayMs: 300, body: bytesOf('later') })]))
    assert.deepEqual(await stage.settled('publish()', publishing), [{ status: 'stored' }])
    await stage.settled('close()', producer.close())
    const { delivery } = await stage.takeOneOf(queue)
    assert.equal(textOf(delivery), 'later')
  },
})

export const delays: Behaviours = {
  ...whereDelaysAre,
  ...lacking(feature.delays, {
    'a delayed message is refused, and not stored': async (stage) => {
      const queue = await stage.queue()
      for (const delayMs of [200, 30 * dayMs]) {
        const message = messageTo(queue, { delayMs })
        const outcome = await stage.settled(
          'publish()',
          outcomeOf(() => stage.broker.publish([message])),
        )
        if ('value' in outcome) expectStatuses('publish()', [message], outcome.value, 'refused')
        await stage.expectNoneReady(queue)
      }
    },
  }),
}

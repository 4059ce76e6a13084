import assert from 'node:assert/strict'
import { feature, ifPresent, ifAbsent, type Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { expectStatuses } from '../expect-statuses.ts'
import { bytesOf, entriesOf, messageTo, textOf } from '../test-data.ts'

/** Clocks of different machines and libraries round differently. */
const roundingMs = 20
const dayMs = 86_400_000

const withDelays = ifPresent(feature.delays, {
  'a delayed job arrives, and not early': async (fixture) => {
    const queue = await fixture.queue()
    const publishedAt = performance.now()
    await fixture.store([messageTo(queue, { delayMs: 500 })])
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    assert.ok(performance.now() - publishedAt >= 500 - roundingMs, 'the job arrived early')
    assert.equal(delivery.deliveryCount, 0)
    await fixture.ackAll(consumer, [delivery])
    await fixture.expectNoneReady(queue, consumer)
  },

  'a waiting receive gets a delayed job when it is due': async (fixture) => {
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue])
    const taking = fixture.inBackground(fixture.takeOne(consumer))
    await fixture.store([messageTo(queue, { delayMs: 200, body: bytesOf('later') })])
    assert.equal(textOf(await taking), 'later')
  },

  'a delayed job does not block other jobs': async (fixture) => {
    const queue = await fixture.queue()
    const delayed = messageTo(queue, { delayMs: dayMs, priority: 9 })
    await fixture.store([delayed])
    await fixture.storeBodies(queue, 'a', 'b')
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['a', 'b'])
    assert.equal(await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name)), 1)
  },

  'a short delay ends while longer ones, stored before and after it, continue': async (fixture) => {
    const queue = await fixture.queue()
    const messages = [
      messageTo(queue, { delayMs: dayMs, body: bytesOf('tomorrow') }),
      messageTo(queue, { delayMs: 200, body: bytesOf('soon') }),
      messageTo(queue, { delayMs: 30 * dayMs, body: bytesOf('in a month') }),
    ]
    await fixture.store(messages)
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    assert.equal(textOf(delivery), 'soon')
    await fixture.ackAll(consumer, [delivery])
    await fixture.expectNoneReady(queue, consumer)
    assert.equal(await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name)), 2)
  },

  'two delays in one queue each end on time': async (fixture) => {
    const queue = await fixture.queue()
    const publishedAt = performance.now()
    const messages = [
      messageTo(queue, { delayMs: 1500, body: bytesOf('1500') }),
      messageTo(queue, { delayMs: 200, body: bytesOf('200') }),
    ]
    await fixture.store(messages)
    const consumer = await fixture.consumer([queue])
    for (let left = 2; left > 0; left--) {
      const delivery = await fixture.takeOne(consumer)
      assert.ok(performance.now() - publishedAt >= Number(textOf(delivery)) - roundingMs, 'the job arrived early')
      await fixture.ackAll(consumer, [delivery])
    }
    await fixture.expectNoneReady(queue, consumer)
  },

  'a job delayed by thirty days does not arrive early': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.store([messageTo(queue, { delayMs: 30 * dayMs })])
    await fixture.expectNoneReady(queue)
    await fixture.sleep(100)
    await fixture.expectNoneReady(queue)
    assert.equal(await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name)), 1)
  },

  'a delayed job keeps its body, headers, id and priority': async (fixture) => {
    const queue = await fixture.queue()
    const message = messageTo(queue, {
      delayMs: 150,
      priority: 8,
      headers: { 'x-note': 'grün', ['__proto__']: 'a word' },
      body: Uint8Array.of(0, 0xff, 0),
    })
    await fixture.store([message])
    const { delivery } = await fixture.takeOneOf(queue)
    assert.equal(delivery.id, message.id)
    assert.deepEqual([...delivery.body], [0, 0xff, 0])
    assert.deepEqual(entriesOf(delivery.headers), entriesOf(message.headers))
    if (fixture.capabilities.priorities === 10) assert.equal(delivery.priority, 8)
  },

  'a delay continues after the publishing broker was closed': async (fixture) => {
    const queue = await fixture.queue()
    const producer = await fixture.connectedBroker()
    const publishing = fixture.inBackground(
      producer.publish([messageTo(queue, { delayMs: 300, body: bytesOf('later') })]),
    )
    assert.deepEqual(await fixture.withTimeout('publish()', publishing), [{ status: 'stored' }])
    await fixture.withTimeout('close()', producer.close())
    const { delivery } = await fixture.takeOneOf(queue)
    assert.equal(textOf(delivery), 'later')
  },
})

export const delays: Behaviours = {
  ...withDelays,
  ...ifAbsent(feature.delays, {
    'a delayed message is refused and not stored': async (fixture) => {
      const queue = await fixture.queue()
      for (const delayMs of [200, 30 * dayMs]) {
        const message = messageTo(queue, { delayMs })
        const outcome = await fixture.withTimeout(
          'publish()',
          outcomeOf(() => fixture.broker.publish([message])),
        )
        if ('value' in outcome) expectStatuses('publish()', [message], outcome.value, 'refused')
        await fixture.expectNoneReady(queue)
      }
    },
  }),
}

import assert from 'node:assert/strict'
import type { Broker, OutboundMessage } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { publishAsCore } from '../as-core.ts'
import { outcomeOf } from '../calls.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, messageTo, newConsumerId, numericBodies, textOf } from '../test-data.ts'

export const lostAnswers: Behaviours = ifPresent(feature.loseAnswer, {
  'a publish without an answer is not sent again, and its result is true': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    await publishAsCore(fixture, broker, queue, 'before')
    const results: { readonly message: OutboundMessage; readonly status: string }[] = []
    for (const body of numericBodies(3)) {
      const message = messageTo(queue, { body: bytesOf(body) })
      const outcome = await loseAnswerOf(fixture, broker, () => broker.publish([message]))
      results.push({ message, status: 'value' in outcome ? (outcome.value[0]?.status ?? 'no result') : 'rejected' })
      // If a client sends the message again after a reconnect, it has done so before this one is stored.
      await publishAsCore(fixture, broker, queue, `after ${body}`)
    }
    const found = (await fixture.takeRemaining(queue)).map(textOf)
    for (const [index, { message, status }] of results.entries()) {
      const copies = found.filter((body) => body === textOf(message)).length
      const job = `job ${index} of the queue ${queue.name}, whose publish was reported as "${status}"`
      assert.ok(copies <= 1, `${job}, is stored ${copies} times`)
      if (status === 'stored') assert.equal(copies, 1, `${job}, is not in the queue`)
      if (status === 'refused' || status === 'rejected') assert.equal(copies, 0, `${job}, is in the queue`)
    }
  },

  ...ifPresent(feature.idempotentPublish, {
    'a publish without an answer may be repeated': async (fixture) => {
      const queue = await fixture.queue()
      const broker = await fixture.connectedBroker()
      await publishAsCore(fixture, broker, queue, 'before')
      const message = messageTo(queue, { body: bytesOf('once') })
      await loseAnswerOf(fixture, broker, () => broker.publish([message]))
      await fixture.store([message])
      const copies = (await fixture.takeRemaining(queue)).filter(({ id }) => id === message.id)
      assert.equal(
        copies.length,
        1,
        `the job ${message.id} of the queue ${queue.name} is stored ${copies.length} times`,
      )
    },
  }),

  'a release without an answer loses no job, and duplicates none if release is native': async (fixture) => {
    const bodies = numericBodies(10)
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...bodies, 'held')
    const broker = await fixture.connectedBroker()
    const consumerId = newConsumerId()
    const prefetch = bodies.length + 1
    const consumer = await fixture.consumer([queue], { broker, consumerId, prefetch })
    const deliveries = await fixture.take(consumer, prefetch)
    const releases = deliveries
      .filter((delivery) => textOf(delivery) !== 'held')
      .map((delivery) => ({ delivery, delayMs: 0, headers: { 'x-note': 'released' } }))
    await loseAnswerOf(fixture, broker, () => consumer.release(releases))
    const { leases } = fixture.broker
    if (leases.kind === 'renewable') await fixture.withTimeout('reclaim()', leases.reclaim(consumerId, []))
    else await fixture.cut(broker)

    const found: string[] = []
    const newOwner = await fixture.consumer([queue])
    const { signal } = new AbortController()
    // The job that was held and not released returns after the lease has ended. No copy of another job can arrive after it.
    await fixture.eventually(`every job of the queue ${queue.name} arrives after its release`, async () => {
      const returned = await fixture.withTimeout('receive()', newOwner.receive(prefetch, { signal }))
      found.push(...returned.map(textOf))
      await fixture.ackAll(newOwner, returned)
      return [...bodies, 'held'].every((body) => found.includes(body))
    })
    if (fixture.capabilities.release !== 'native') return
    await fixture.withTimeout('consumer.close()', newOwner.close())
    found.push(...(await fixture.takeRemaining(queue)).map(textOf))
    for (const [index, body] of bodies.entries()) {
      const copies = found.filter((each) => each === body).length
      assert.equal(copies, 1, `job ${index} of the queue ${queue.name} arrived ${copies} times after its release`)
    }
  },
})

/** The outcome of a call whose request reaches the engine and whose connection ends before the answer. */
async function loseAnswerOf<Value>(
  fixture: Fixture,
  broker: Broker,
  call: () => Promise<Value>,
): ReturnType<typeof outcomeOf<Value>> {
  const losing = fixture.loseAnswer(broker)
  const calling = outcomeOf(call)
  await losing
  return fixture.withLongTimeout('the call whose answer was lost', calling)
}

import assert from 'node:assert/strict'
import type { Delivery } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { bytesOf, messageTo, textOf } from '../test-data.ts'

export const unreadableJobs: Behaviours = ifPresent(feature.storeUnreadable, {
  'an unreadable stored job becomes a dead letter, and the others are delivered': async (fixture) => {
    const [queue, other] = [await fixture.queue(), await fixture.queue()]
    await fixture.storeBodies(queue, 'before')
    const bytes = await fixture.storeUnreadable(queue)
    await fixture.storeBodies(queue, 'behind')
    await fixture.store(['other 0', 'other 1'].map((body) => messageTo(other, { body: bytesOf(body) })))
    const expected = ['before', 'behind', 'other 0', 'other 1']
    const consumer = await fixture.consumer([queue, other])
    const { signal } = new AbortController()
    const found: string[] = []
    const taking = fixture.eventually('all readable jobs', async () => {
      const deliveries = await fixture.withTimeout('receive()', consumer.receive(10, { signal }))
      const readable = deliveries.filter((delivery) => expected.includes(textOf(delivery)))
      found.push(...readable.map(textOf))
      await fixture.ackAll(consumer, readable)
      // Core rejects a delivery that is undecodable or whose body is not JSON.
      const others = deliveries.filter((delivery) => !readable.includes(delivery))
      await fixture.withTimeout('reject()', consumer.reject(others.map(rejection)))
      return expected.every((body) => found.includes(body))
    })
    await taking.catch((error: unknown) => {
      const missing = expected.filter((body) => !found.includes(body))
      assert.deepEqual(missing, [], `readable jobs of the queue ${queue.name} that were not delivered`)
      throw error
    })
    if (fixture.capabilities.deadLetter !== 'none') {
      const { deadLetters } = fixture.broker.admin
      const letters = await fixture.eventually(`a dead letter of the queue ${queue.name}`, async () => {
        const listed = await fixture.withTimeout('list()', deadLetters.list(queue.name, { limit: 10 }))
        return listed.length > 0 && listed
      })
      assert.deepEqual(
        letters.map(({ body }) => Buffer.from(body).toString('hex')),
        [Buffer.from(bytes).toString('hex')],
        `the dead letter of the queue ${queue.name} must have the body of the unreadable job`,
      )
      const reason = letters[0]?.reason ?? ''
      assert.match(reason, /^ZYQ_DECODE\b/, `the reason of the unreadable job of the queue ${queue.name}`)
      assert.deepEqual(await fixture.withTimeout('list()', deadLetters.list(other.name, { limit: 10 })), [])
    }
    await fixture.expectNoneReady(queue, consumer)
    await fixture.expectNoneReady(other)
    assert.deepEqual(found.toSorted(), expected, 'each readable job must be delivered once')
  },
})

function rejection(delivery: Delivery): { readonly delivery: Delivery; readonly reason: string } {
  return { delivery, reason: `ZYQ_DECODE: ${delivery.undecodable ?? 'the body is not JSON'}` }
}

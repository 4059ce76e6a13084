import assert from 'node:assert/strict'
import type { Delivery } from '@zyqueue/core/broker'
import type { Behaviours } from '../behaviour.ts'
import { bytesOf, messageTo, textOf } from '../stage.ts'

/** If the harness has `storeUnreadable`. */
export const unreadableJobs: Behaviours = {
  'a stored job that cannot be read ends alone in the dead letters, and the others are delivered': async (stage) => {
    const [queue, other] = [await stage.queue(), await stage.queue()]
    await stage.storeBodies(queue, 'before')
    const bytes = await stage.storeUnreadable(queue)
    await stage.storeBodies(queue, 'behind')
    await stage.store(['other 0', 'other 1'].map((body) => messageTo(other, { body: bytesOf(body) })))
    const expected = ['before', 'behind', 'other 0', 'other 1']
    const consumer = await stage.consumer([queue, other])
    const { signal } = new AbortController()
    const found: string[] = []
    const taking = stage.eventually('all readable jobs', async () => {
      const deliveries = await stage.settled('receive()', consumer.receive(10, { signal }))
      const readable = deliveries.filter((delivery) => expected.includes(textOf(delivery)))
      found.push(...readable.map(textOf))
      await stage.ackAll(consumer, readable)
      // As core does with a delivery whose body is no JSON, or which says that it cannot be read.
      const others = deliveries.filter((delivery) => !readable.includes(delivery))
      await stage.settled('reject()', consumer.reject(others.map(rejection)))
      return expected.every((body) => found.includes(body))
    })
    await taking.catch((error: unknown) => {
      const missing = expected.filter((body) => !found.includes(body))
      assert.deepEqual(missing, [], `jobs beside an unreadable one of the queue ${queue.name} that were not delivered`)
      throw error
    })
    if (stage.capabilities.deadLetter !== 'none') {
      const { deadLetters } = stage.broker.admin
      const letters = await stage.eventually(`a dead letter of the queue ${queue.name}`, async () => {
        const listed = await stage.settled('list()', deadLetters.list(queue.name, { limit: 10 }))
        return listed.length > 0 && listed
      })
      assert.deepEqual(
        letters.map(({ body }) => Buffer.from(body).toString('hex')),
        [Buffer.from(bytes).toString('hex')],
        `the bodies of the dead letters of the queue ${queue.name} are those of the unreadable job`,
      )
      const reason = letters[0]?.reason ?? ''
      assert.match(reason, /^ZYQ_DECODE\b/, `the reason of the unreadable job of the queue ${queue.name}`)
      assert.deepEqual(await stage.settled('list()', deadLetters.list(other.name, { limit: 10 })), [])
    }
    await stage.expectNoneReady(queue, consumer)
    await stage.expectNoneReady(other)
    assert.deepEqual(found.toSorted(), expected, `each readable job of the queues is delivered once`)
  },
}

function rejection(delivery: Delivery): { readonly delivery: Delivery; readonly reason: string } {
  return { delivery, reason: `ZYQ_DECODE: ${delivery.undecodable ?? 'the body is not JSON'}` }
}

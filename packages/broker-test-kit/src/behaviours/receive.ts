import assert from 'node:assert/strict'
import type { Delivery } from '@zyqueue/core/broker'
import type { Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { numbered, textOf } from '../stage.ts'

const never = new AbortController().signal

export const receive: Behaviours = {
  'what was published first arrives first': async (stage) => {
    const queue = await stage.queue()
    for (const body of numbered(5)) await stage.storeBodies(queue, body)
    await stage.storeBodies(queue, '5', '6', '7', '8', '9')
    const consumer = await stage.consumer([queue])
    assert.deepEqual((await stage.take(consumer, 10)).map(textOf), numbered(10))
  },

  'a call gives at most max deliveries': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(7))
    const consumer = await stage.consumer([queue])
    assert.deepEqual((await stage.take(consumer, 7, 2)).map(textOf), numbered(7))
  },

  'at most prefetch deliveries are in hand; to settle one makes room': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(6))
    const consumer = await stage.consumer([queue], { prefetch: 3 })
    const [first, ...held] = await stage.take(consumer, 3, 100)
    assert.ok(first)
    const more = await stage.settled('receive()', consumer.receive(100, { signal: never }))
    assert.deepEqual(more.map(textOf), [], 'a full hand gets nothing more')
    await stage.ackAll(consumer, [first])
    const fourth = await stage.takeOne(consumer)
    await stage.ackAll(consumer, held)
    const last = await stage.take(consumer, 2, 100)
    const all = [first, ...held, fourth, ...last].map(textOf)
    if (stage.capabilities.ordered === false) all.sort()
    assert.deepEqual(all, numbered(6))
  },

  'several queues share one prefetch': async (stage) => {
    const queues = [await stage.queue(), await stage.queue()]
    for (const queue of queues) await stage.storeBodies(queue, ...numbered(3))
    const consumer = await stage.consumer(queues, { prefetch: 4 })
    const held = await stage.take(consumer, 4, 100)
    assert.deepEqual(await stage.settled('receive()', consumer.receive(100, { signal: never })), [])
    await stage.ackAll(consumer, held)
    await stage.ackAll(consumer, await stage.take(consumer, 2, 100))
  },

  'a call that waits gets what is published meanwhile': async (stage) => {
    const queue = await stage.queue()
    const consumer = await stage.consumer([queue])
    for (const body of numbered(3)) {
      const taking = stage.later(stage.takeOne(consumer))
      await stage.storeBodies(queue, body)
      const delivery = await taking
      assert.equal(textOf(delivery), body)
      await stage.ackAll(consumer, [delivery])
    }
  },

  'a call resolves to nothing after a while, again and again': async (stage) => {
    const consumer = await stage.consumer([await stage.queue()])
    assert.deepEqual(await stage.settled('receive()', consumer.receive(1, { signal: never })), [])
    assert.deepEqual(await stage.settled('receive()', consumer.receive(1, { signal: never })), [])
  },

  'an aborted call settles, and the next one gets the job': async (stage) => {
    const queue = await stage.queue()
    const consumer = await stage.consumer([queue])
    const controller = new AbortController()
    const receiving = stage.later(consumer.receive(1, { signal: controller.signal }))
    controller.abort()
    assert.deepEqual(await stage.settled('the aborted receive', receiving), [])
    assert.deepEqual(await stage.settled('receive()', consumer.receive(1, { signal: controller.signal })), [])
    await stage.storeBodies(queue, 'next')
    assert.equal(textOf(await stage.takeOne(consumer)), 'next')
  },

  'calls that are aborted while jobs arrive lose none and double none': async (stage) => {
    const queue = await stage.queue()
    const consumer = await stage.consumer([queue], { prefetch: 200 })
    const count = 60
    const taken: Delivery[] = []
    for (const body of numbered(count)) {
      const controller = new AbortController()
      const receiving = stage.later(consumer.receive(5, { signal: controller.signal }))
      const storing = stage.later(stage.storeBodies(queue, body))
      if (Number(body) % 3 === 0) await storing
      if (Number(body) % 3 === 1) await Promise.resolve()
      controller.abort()
      taken.push(...(await stage.settled('the aborted receive', receiving)))
      await storing
    }
    taken.push(...(await stage.take(consumer, count - taken.length)))
    assert.deepEqual(taken.map(textOf).toSorted(), numbered(count).toSorted())
    assert.ok(
      taken.every((delivery) => delivery.deliveryCount === 0),
      'an aborted call counts no delivery',
    )
    await stage.ackAll(consumer, taken)
    await stage.expectNoneReady(queue, consumer)
  },

  'two consumers never have the same delivery': async (stage) => {
    const queue = await stage.queue()
    const count = 100
    const consumers = [
      await stage.consumer([queue], { prefetch: count }),
      await stage.consumer([queue], { prefetch: count, broker: await stage.connectedBroker() }),
    ]
    await stage.storeBodies(queue, ...numbered(count))
    const taken: string[] = []
    let cameAt = performance.now()
    const drain = async (consumer: (typeof consumers)[number]): Promise<void> => {
      while (taken.length < count) {
        assert.ok(performance.now() - cameAt < stage.patienceMs, `${taken.length} of ${count} came, and no more`)
        const deliveries = await stage.settled('receive()', consumer.receive(7, { signal: never }))
        taken.push(...deliveries.map(textOf))
        if (deliveries.length > 0) cameAt = performance.now()
        await stage.ackAll(consumer, deliveries)
      }
    }
    await Promise.all(consumers.map(drain))
    assert.deepEqual(taken.toSorted(), numbered(count).toSorted())
    await stage.expectNoneReady(queue)
  },

  'a long queue does not starve the others, wherever it stands': async (stage) => {
    const long = await stage.queue()
    const short = await stage.queue()
    const count = 60
    for (const queues of [
      [long, short],
      [short, long],
    ]) {
      await stage.storeBodies(long, ...numbered(count))
      await stage.storeBodies(short, ...numbered(3))
      const consumer = await stage.consumer(queues, { prefetch: 4 })
      const order: string[] = []
      while (order.length < count + 3) {
        const deliveries = await stage.take(consumer, 1)
        order.push(...deliveries.map((delivery) => delivery.queue))
        await stage.ackAll(consumer, deliveries)
      }
      assert.ok(
        order.lastIndexOf(short.name) < order.lastIndexOf(long.name),
        'the short queue had its turn before the end',
      )
      assert.ok(order.indexOf(long.name) < count / 2, 'so had the long one')
      await stage.settled('consumer.close()', consumer.close())
    }
  },

  'one consumer may serve many queues': async (stage) => {
    const queues = await Promise.all(numbered(50).map(() => stage.queue()))
    const consumer = await stage.consumer(queues, { prefetch: 100 })
    for (const queue of queues) await stage.storeBodies(queue, queue.name)
    const deliveries = await stage.take(consumer, queues.length)
    assert.deepEqual(deliveries.map(textOf).toSorted(), queues.map((queue) => queue.name).toSorted())
    for (const delivery of deliveries) assert.equal(delivery.queue, textOf(delivery))
    await stage.ackAll(consumer, deliveries)
  },

  'a consumer of one queue gets nothing of another': async (stage) => {
    const [own, other] = [await stage.queue(), await stage.queue()]
    await stage.storeBodies(other, 'other')
    await stage.storeBodies(own, 'own')
    const consumer = await stage.consumer([own])
    const delivery = await stage.takeOne(consumer)
    assert.equal(textOf(delivery), 'own')
    await stage.ackAll(consumer, [delivery])
    assert.deepEqual(await stage.settled('receive()', consumer.receive(5, { signal: never })), [])
    assert.deepEqual((await stage.remaining(other)).map(textOf), ['other'])
  },

  'after consumer.close, a call rejects with ZYQ_CLOSED': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'kept')
    const consumer = await stage.consumer([queue])
    await stage.settled('consumer.close()', consumer.close())
    const outcome = await stage.settled(
      'receive()',
      outcomeOf(() => consumer.receive(1, { signal: never })),
    )
    assert.ok('error' in outcome, 'it must reject, but it resolved')
    assert.equal(codeOf(stage.broker, outcome.error), 'ZYQ_CLOSED')
    assert.deepEqual((await stage.remaining(queue)).map(textOf), ['kept'])
  },
}

import assert from 'node:assert/strict'
import type { Delivery } from '@zyqueue/core/broker'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { nameOf } from '../expect-statuses.ts'
import { bytesOf, messageTo, numbered, queueSpec, textOf } from '../stage.ts'

const never = new AbortController().signal
/** How much the clock of a server may differ. */
const clocksDifferMs = 60_000

export const receive: Behaviours = {
  ...having(feature.order, {
    'what was published first arrives first': async (stage) => {
      const queue = await stage.queue()
      for (const body of numbered(5)) await stage.storeBodies(queue, body)
      await stage.storeBodies(queue, '5', '6', '7', '8', '9')
      const consumer = await stage.consumer([queue])
      assert.deepEqual((await stage.take(consumer, 10)).map(textOf), numbered(10))
    },
  }),

  'a delivery tells when its job was stored, also after a release and a lost owner': async (stage) => {
    const queue = await stage.queue()
    const startedAtMs = Date.now()
    await stage.storeBodies(queue, 'job')
    const owner = await stage.mortalOwner(queue)
    const first = await stage.takeOne(owner.consumer)
    const expectSane = ({ storedAtMs, ...job }: Delivery): void => {
      if (storedAtMs === undefined) return
      assert.ok(
        storedAtMs > startedAtMs - clocksDifferMs && storedAtMs < Date.now() + clocksDifferMs,
        `${storedAtMs} of ${nameOf(job)} is not when it was stored, in milliseconds since 1970: ${startedAtMs}`,
      )
    }
    expectSane(first)
    await owner.die()
    const { consumer, delivery: second } = await stage.takeOneOf(queue)
    assert.equal(second.storedAtMs, first.storedAtMs, `storedAtMs of ${nameOf(second)} after its owner was lost`)
    await stage.release(consumer, { delivery: second, delayMs: 0, headers: { 'x-note': 'new' } })
    const third = await stage.takeOne(consumer)
    expectSane(third)
    if (stage.capabilities.release === 'native') {
      assert.equal(third.storedAtMs, first.storedAtMs, `storedAtMs of ${nameOf(third)} after its release`)
    }
    await stage.ackAll(consumer, [third])
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
        assert.ok(performance.now() - cameAt < stage.timeoutMs, `${taken.length} of ${count} came, and no more`)
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
    const { name } = queueSpec()
    // Names that a broker with patterns or prefixes may take for others.
    const own = ['', '*', '.*', '.>', '.#'].map((pattern) => queueSpec(`${name}${pattern}`))
    const [served, late, ...others] = ['-served', '-late', '.x', 'x', '.x.y'].map((end) => queueSpec(`${name}${end}`))
    assert.ok(served && late)
    await stage.settled('declare()', stage.broker.declare([...own, served, ...others]))
    // Another consumer of the same broker, whose hand is full, has a queue of its own.
    const neighbour = await stage.consumer([served], { prefetch: 1 })
    const consumer = await stage.consumer(own, { prefetch: 100 })
    await stage.settled('declare()', stage.broker.declare([late]))
    await stage.storeBodies(served, 'held')
    const held = await stage.takeOne(neighbour)
    const foreign = [served, late, ...others]
    await stage.store(foreign.map((queue) => messageTo(queue, { body: bytesOf(queue.name) })))
    await stage.store(own.map((queue) => messageTo(queue, { body: bytesOf(queue.name) })))
    const deliveries = await stage.take(consumer, own.length, 100)
    const more = await stage.settled('receive()', consumer.receive(100, { signal: never }))
    for (const delivery of [...deliveries, ...more]) {
      assert.ok(
        own.some((queue) => queue.name === textOf(delivery)),
        `a consumer of ${own.map((queue) => queue.name).join(' ')} got ${nameOf(delivery)}`,
      )
    }
    await stage.ackAll(consumer, deliveries)
    await stage.ackAll(neighbour, [held])
    await stage.settled('consumer.close()', neighbour.close())
    for (const queue of foreign) assert.deepEqual((await stage.remaining(queue)).map(textOf), [queue.name])
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

import assert from 'node:assert/strict'
import type { Delivery } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { nameOf } from '../expect-statuses.ts'
import { bytesOf, messageTo, numericBodies, queueSpec, textOf } from '../test-data.ts'

const never = new AbortController().signal
/** The largest difference between the clocks of the server and this process. */
const clocksDifferMs = 60_000

export const receive: Behaviours = {
  ...ifPresent(feature.order, {
    'jobs arrive in the order in which they were published': async (fixture) => {
      const queue = await fixture.queue()
      for (const body of numericBodies(5)) await fixture.storeBodies(queue, body)
      await fixture.storeBodies(queue, '5', '6', '7', '8', '9')
      const consumer = await fixture.consumer([queue])
      assert.deepEqual((await fixture.take(consumer, 10)).map(textOf), numericBodies(10))
    },
  }),

  'storedAtMs stays the same after a release and after a lost owner': async (fixture) => {
    const queue = await fixture.queue()
    const startedAtMs = Date.now()
    await fixture.storeBodies(queue, 'job')
    const owner = await fixture.ownerToLose(queue)
    const first = await fixture.takeOne(owner.consumer)
    const expectValidTime = ({ storedAtMs, ...job }: Delivery): void => {
      if (storedAtMs === undefined) return
      assert.ok(
        storedAtMs > startedAtMs - clocksDifferMs && storedAtMs < Date.now() + clocksDifferMs,
        `${storedAtMs} of ${nameOf(job)} is not the time in milliseconds since 1970 at which it was stored, ${startedAtMs}`,
      )
    }
    expectValidTime(first)
    await owner.lose()
    const { consumer, delivery: second } = await fixture.takeOneOf(queue)
    assert.equal(second.storedAtMs, first.storedAtMs, `storedAtMs of ${nameOf(second)} after its owner was lost`)
    await fixture.release(consumer, { delivery: second, delayMs: 0, headers: { 'x-note': 'new' } })
    const third = await fixture.takeOne(consumer)
    expectValidTime(third)
    if (fixture.capabilities.release === 'native') {
      assert.equal(third.storedAtMs, first.storedAtMs, `storedAtMs of ${nameOf(third)} after its release`)
    }
    await fixture.ackAll(consumer, [third])
  },

  'receive returns at most max deliveries': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(7))
    const consumer = await fixture.consumer([queue])
    assert.deepEqual((await fixture.take(consumer, 7, 2)).map(textOf), numericBodies(7))
  },

  'a consumer holds at most prefetch deliveries; settling one makes room': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(6))
    const consumer = await fixture.consumer([queue], { prefetch: 3 })
    const [first, ...held] = await fixture.take(consumer, 3, 100)
    assert.ok(first)
    const more = await fixture.withTimeout('receive()', consumer.receive(100, { signal: never }))
    assert.deepEqual(more.map(textOf), [], 'a consumer that holds prefetch deliveries must get no more')
    await fixture.ackAll(consumer, [first])
    const fourth = await fixture.takeOne(consumer)
    await fixture.ackAll(consumer, held)
    const last = await fixture.take(consumer, 2, 100)
    const all = [first, ...held, fourth, ...last].map(textOf)
    if (fixture.capabilities.ordered === false) all.sort()
    assert.deepEqual(all, numericBodies(6))
  },

  'the queues of a consumer share one prefetch': async (fixture) => {
    const queues = [await fixture.queue(), await fixture.queue()]
    for (const queue of queues) await fixture.storeBodies(queue, ...numericBodies(3))
    const consumer = await fixture.consumer(queues, { prefetch: 4 })
    const held = await fixture.take(consumer, 4, 100)
    assert.deepEqual(await fixture.withTimeout('receive()', consumer.receive(100, { signal: never })), [])
    await fixture.ackAll(consumer, held)
    await fixture.ackAll(consumer, await fixture.take(consumer, 2, 100))
  },

  'a waiting receive gets a job that is published meanwhile': async (fixture) => {
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue])
    for (const body of numericBodies(3)) {
      const taking = fixture.inBackground(fixture.takeOne(consumer))
      await fixture.storeBodies(queue, body)
      const delivery = await taking
      assert.equal(textOf(delivery), body)
      await fixture.ackAll(consumer, [delivery])
    }
  },

  'receive resolves to [] after about a second without a job': async (fixture) => {
    const consumer = await fixture.consumer([await fixture.queue()])
    assert.deepEqual(await fixture.withTimeout('receive()', consumer.receive(1, { signal: never })), [])
    assert.deepEqual(await fixture.withTimeout('receive()', consumer.receive(1, { signal: never })), [])
  },

  'an aborted receive resolves to [], and the next one gets the job': async (fixture) => {
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue])
    const controller = new AbortController()
    const receiving = fixture.inBackground(consumer.receive(1, { signal: controller.signal }))
    controller.abort()
    assert.deepEqual(await fixture.withTimeout('the aborted receive', receiving), [])
    assert.deepEqual(await fixture.withTimeout('receive()', consumer.receive(1, { signal: controller.signal })), [])
    await fixture.storeBodies(queue, 'next')
    assert.equal(textOf(await fixture.takeOne(consumer)), 'next')
  },

  'aborting receives while jobs arrive neither loses nor duplicates jobs': async (fixture) => {
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue], { prefetch: 200 })
    const count = 60
    const taken: Delivery[] = []
    for (const body of numericBodies(count)) {
      const controller = new AbortController()
      const receiving = fixture.inBackground(consumer.receive(5, { signal: controller.signal }))
      const storing = fixture.inBackground(fixture.storeBodies(queue, body))
      if (Number(body) % 3 === 0) await storing
      if (Number(body) % 3 === 1) await Promise.resolve()
      controller.abort()
      taken.push(...(await fixture.withTimeout('the aborted receive', receiving)))
      await storing
    }
    taken.push(...(await fixture.take(consumer, count - taken.length)))
    assert.deepEqual(taken.map(textOf).toSorted(), numericBodies(count).toSorted())
    assert.ok(
      taken.every((delivery) => delivery.deliveryCount === 0),
      'an aborted receive must not count a delivery',
    )
    await fixture.ackAll(consumer, taken)
    await fixture.expectNoneReady(queue, consumer)
  },

  'two consumers never get the same job': async (fixture) => {
    const queue = await fixture.queue()
    const count = 100
    const consumers = [
      await fixture.consumer([queue], { prefetch: count }),
      await fixture.consumer([queue], { prefetch: count, broker: await fixture.connectedBroker() }),
    ]
    await fixture.storeBodies(queue, ...numericBodies(count))
    const taken: string[] = []
    let lastArrivalAt = performance.now()
    const drain = async (consumer: (typeof consumers)[number]): Promise<void> => {
      while (taken.length < count) {
        assert.ok(
          performance.now() - lastArrivalAt < fixture.timeoutMs,
          `only ${taken.length} of ${count} jobs arrived`,
        )
        const deliveries = await fixture.withTimeout('receive()', consumer.receive(7, { signal: never }))
        taken.push(...deliveries.map(textOf))
        if (deliveries.length > 0) lastArrivalAt = performance.now()
        await fixture.ackAll(consumer, deliveries)
      }
    }
    await Promise.all(consumers.map(drain))
    assert.deepEqual(taken.toSorted(), numericBodies(count).toSorted())
    await fixture.expectNoneReady(queue)
  },

  'a long queue does not starve a short one, in either order': async (fixture) => {
    const long = await fixture.queue()
    const short = await fixture.queue()
    const count = 60
    for (const queues of [
      [long, short],
      [short, long],
    ]) {
      await fixture.storeBodies(long, ...numericBodies(count))
      await fixture.storeBodies(short, ...numericBodies(3))
      const consumer = await fixture.consumer(queues, { prefetch: 4 })
      const order: string[] = []
      while (order.length < count + 3) {
        const deliveries = await fixture.take(consumer, 1)
        order.push(...deliveries.map((delivery) => delivery.queue))
        await fixture.ackAll(consumer, deliveries)
      }
      assert.ok(
        order.lastIndexOf(short.name) < order.lastIndexOf(long.name),
        'the short queue must be served before the end of the long one',
      )
      assert.ok(order.indexOf(long.name) < count / 2, 'the long queue must be served early')
      await fixture.withTimeout('consumer.close()', consumer.close())
    }
  },

  'one consumer may consume 50 queues': async (fixture) => {
    const queues = await Promise.all(numericBodies(50).map(() => fixture.queue()))
    const consumer = await fixture.consumer(queues, { prefetch: 100 })
    for (const queue of queues) await fixture.storeBodies(queue, queue.name)
    const deliveries = await fixture.take(consumer, queues.length)
    assert.deepEqual(deliveries.map(textOf).toSorted(), queues.map((queue) => queue.name).toSorted())
    for (const delivery of deliveries) assert.equal(delivery.queue, textOf(delivery))
    await fixture.ackAll(consumer, deliveries)
  },

  'a consumer gets jobs of its own queues only': async (fixture) => {
    const { name } = queueSpec()
    // A broker with patterns or prefixes could confuse these names with others.
    const own = ['', '*', '.*', '.>', '.#'].map((pattern) => queueSpec(`${name}${pattern}`))
    const [served, late, ...others] = ['-served', '-late', '.x', 'x', '.x.y'].map((end) => queueSpec(`${name}${end}`))
    assert.ok(served && late)
    await fixture.withTimeout('declare()', fixture.broker.declare([...own, served, ...others]))
    // Another consumer of the same broker consumes another queue. It holds its one job, so it cannot take more.
    const neighbour = await fixture.consumer([served], { prefetch: 1 })
    const consumer = await fixture.consumer(own, { prefetch: 100 })
    await fixture.withTimeout('declare()', fixture.broker.declare([late]))
    await fixture.storeBodies(served, 'held')
    const held = await fixture.takeOne(neighbour)
    const foreign = [served, late, ...others]
    await fixture.store(foreign.map((queue) => messageTo(queue, { body: bytesOf(queue.name) })))
    await fixture.store(own.map((queue) => messageTo(queue, { body: bytesOf(queue.name) })))
    const deliveries = await fixture.take(consumer, own.length, 100)
    const more = await fixture.withTimeout('receive()', consumer.receive(100, { signal: never }))
    for (const delivery of [...deliveries, ...more]) {
      assert.ok(
        own.some((queue) => queue.name === textOf(delivery)),
        `a consumer of ${own.map((queue) => queue.name).join(' ')} got ${nameOf(delivery)}`,
      )
    }
    await fixture.ackAll(consumer, deliveries)
    await fixture.ackAll(neighbour, [held])
    await fixture.withTimeout('consumer.close()', neighbour.close())
    for (const queue of foreign) assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), [queue.name])
  },

  'receive after consumer.close rejects with ZYQ_CLOSED': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'kept')
    const consumer = await fixture.consumer([queue])
    await fixture.withTimeout('consumer.close()', consumer.close())
    const outcome = await fixture.withTimeout(
      'receive()',
      outcomeOf(() => consumer.receive(1, { signal: never })),
    )
    assert.ok('error' in outcome, 'receive() must reject, but it resolved')
    assert.equal(codeOf(fixture.broker, outcome.error), 'ZYQ_CLOSED')
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['kept'])
  },
}

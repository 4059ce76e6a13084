import assert from 'node:assert/strict'
import type { Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { numericBodies, textOf } from '../test-data.ts'
import { settleWith } from './settle.ts'

const never = new AbortController().signal

export const closing: Behaviours = {
  'consumer.close gives back unsettled jobs, uncounted': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(5))
    const consumer = await fixture.consumer([queue])
    await fixture.take(consumer, 3)
    await fixture.withTimeout('consumer.close()', consumer.close())
    const found = await fixture.takeRemaining(queue)
    assert.deepEqual(found.map(textOf).toSorted(), numericBodies(5))
    for (const delivery of found) assert.equal(delivery.deliveryCount, 0)
  },

  'broker.close gives back unsettled jobs of its consumers, uncounted': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(5))
    const broker = await fixture.connectedBroker()
    const consumers = [
      await fixture.consumer([queue], { broker, prefetch: 2 }),
      await fixture.consumer([queue], { broker, prefetch: 2 }),
    ]
    for (const consumer of consumers) await fixture.take(consumer, 2)
    await fixture.withTimeout('close()', broker.close())
    const newOwner = await fixture.consumer([queue])
    const found = await fixture.take(newOwner, 5)
    assert.deepEqual(found.map(textOf).toSorted(), numericBodies(5))
    for (const delivery of found) assert.equal(delivery.deliveryCount, 0)
  },

  'a second, concurrent or late consumer.close changes nothing': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    const consumer = await fixture.consumer([queue], { broker })
    await fixture.withTimeout('two closes', Promise.all([consumer.close(), consumer.close()]))
    await fixture.withTimeout('consumer.close()', consumer.close())
    const other = await fixture.consumer([queue], { broker })
    await fixture.withTimeout('close()', broker.close())
    await fixture.withTimeout('consumer.close()', other.close())
  },

  'consumer.close settles a pending receive and loses no job': async (fixture) => {
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue])
    const receiving = outcomeOf(() => consumer.receive(5, { signal: never }))
    const storing = fixture.inBackground(fixture.storeBodies(queue, 'job'))
    await fixture.withTimeout('consumer.close()', consumer.close())
    const outcome = await fixture.withTimeout('the pending receive', receiving)
    if ('error' in outcome) assert.equal(codeOf(fixture.broker, outcome.error), 'ZYQ_CLOSED')
    await storing
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['job'])
  },

  'broker.close settles a pending receive and loses no job': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    const consumer = await fixture.consumer([queue], { broker })
    const receiving = outcomeOf(() => consumer.receive(5, { signal: never }))
    const storing = fixture.inBackground(fixture.storeBodies(queue, 'job'))
    await fixture.withTimeout('close()', broker.close())
    const outcome = await fixture.withTimeout('the pending receive', receiving)
    if ('error' in outcome) codeOf(broker, outcome.error)
    await storing
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['job'])
  },

  'consumers of a closed broker receive nothing': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'before')
    const broker = await fixture.connectedBroker()
    const consumer = await fixture.consumer([queue], { broker })
    await fixture.withTimeout('close()', broker.close())
    await fixture.storeBodies(queue, 'after')
    const outcome = await fixture.withTimeout(
      'receive()',
      outcomeOf(() => consumer.receive(5, { signal: never })),
    )
    assert.ok('error' in outcome, 'receive() must reject, but it resolved')
    assert.equal(codeOf(broker, outcome.error), 'ZYQ_CLOSED')
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['before', 'after'])
  },

  'settling a job after close has no effect': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(6))
    const broker = await fixture.connectedBroker()
    const closed = await fixture.consumer([queue], { broker, prefetch: 3 })
    const closedDeliveries = await fixture.take(closed, 3)
    await fixture.withTimeout('consumer.close()', closed.close())
    const orphaned = await fixture.consumer([queue], { broker, prefetch: 3 })
    const orphanedDeliveries = await fixture.take(orphaned, 3)
    await fixture.withTimeout('close()', broker.close())
    for (const [index, method] of (['ack', 'release', 'reject'] as const).entries()) {
      for (const [consumer, deliveries] of [
        [closed, closedDeliveries],
        [orphaned, orphanedDeliveries],
      ] as const) {
        const outcome = await fixture.withTimeout(
          `the late ${method}`,
          outcomeOf(() => settleWith(method, consumer, deliveries.slice(index, index + 1))),
        )
        if ('error' in outcome) assert.equal(codeOf(broker, outcome.error), 'ZYQ_CLOSED')
        else assert.deepEqual(outcome.value, [{ status: 'lease-lost' }])
      }
    }
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf).toSorted(), numericBodies(6))
  },

  'close during settlements: each job is settled or back in its queue': async (fixture) => {
    const queue = await fixture.queue()
    const count = 50
    await fixture.storeBodies(queue, ...numericBodies(count))
    const broker = await fixture.connectedBroker()
    const consumer = await fixture.consumer([queue], { broker, prefetch: count })
    const deliveries = await fixture.take(consumer, count)
    const acks = deliveries.map(async (delivery) => ({
      body: textOf(delivery),
      outcome: await outcomeOf(() => consumer.ack([delivery])),
    }))
    await fixture.withTimeout('close()', broker.close())
    const surelyDone: string[] = []
    const surelyNot: string[] = []
    for (const { body, outcome } of await fixture.withTimeout('the acks', Promise.all(acks))) {
      const status = 'value' in outcome ? outcome.value[0]?.status : undefined
      if (status === 'ok') surelyDone.push(body)
      if (status === 'lease-lost') surelyNot.push(body)
    }
    const found = (await fixture.takeRemaining(queue)).map(textOf)
    assert.deepEqual(
      surelyDone.filter((body) => found.includes(body)),
      [],
      'the results are ok, but the jobs are in the queue',
    )
    assert.deepEqual(
      surelyNot.filter((body) => !found.includes(body)),
      [],
      'the results are lease-lost, but the jobs are not in the queue',
    )
    assert.equal(new Set(found).size, found.length, 'no job may be in the queue twice')
  },

  'closing a consumer does not affect the others of its broker': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    const closed = await fixture.consumer([queue], { broker })
    const working = await fixture.consumer([queue], { broker })
    const taking = fixture.inBackground(fixture.takeOne(working))
    await fixture.withTimeout('consumer.close()', closed.close())
    await fixture.storeBodies(queue, 'job')
    await fixture.ackAll(working, [await taking])
  },

  'the id of a closed consumer may be used again': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'job')
    const consumerId = `kit-again-${queue.name}`
    const first = await fixture.consumer([queue], { consumerId })
    await fixture.takeOne(first)
    await fixture.withTimeout('consumer.close()', first.close())
    const second = await fixture.consumer([queue], { consumerId })
    await fixture.ackAll(second, [await fixture.takeOne(second)])
    await fixture.expectNoneReady(queue, second)
  },
}

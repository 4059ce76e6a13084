import assert from 'node:assert/strict'
import type { Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { numbered, textOf } from '../stage.ts'
import { settleBy } from './settle.ts'

const never = new AbortController().signal

export const closing: Behaviours = {
  'consumer.close gives back what is in hand, uncharged': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(5))
    const consumer = await stage.consumer([queue])
    await stage.take(consumer, 3)
    await stage.settled('consumer.close()', consumer.close())
    const found = await stage.remaining(queue)
    assert.deepEqual(found.map(textOf).toSorted(), numbered(5))
    for (const delivery of found) assert.equal(delivery.deliveryCount, 0)
  },

  'broker.close gives back what its consumers have in hand, uncharged': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(5))
    const broker = await stage.connectedBroker()
    const consumers = [
      await stage.consumer([queue], { broker, prefetch: 2 }),
      await stage.consumer([queue], { broker, prefetch: 2 }),
    ]
    for (const consumer of consumers) await stage.take(consumer, 2)
    await stage.settled('close()', broker.close())
    const heir = await stage.consumer([queue])
    const found = await stage.take(heir, 5)
    assert.deepEqual(found.map(textOf).toSorted(), numbered(5))
    for (const delivery of found) assert.equal(delivery.deliveryCount, 0)
  },

  'consumer.close again, at once, or after the broker, changes nothing': async (stage) => {
    const queue = await stage.queue()
    const broker = await stage.connectedBroker()
    const consumer = await stage.consumer([queue], { broker })
    await stage.settled('two closes', Promise.all([consumer.close(), consumer.close()]))
    await stage.settled('consumer.close()', consumer.close())
    const other = await stage.consumer([queue], { broker })
    await stage.settled('close()', broker.close())
    await stage.settled('consumer.close()', other.close())
  },

  'consumer.close settles a receive that waits, and what it got is not lost': async (stage) => {
    const queue = await stage.queue()
    const consumer = await stage.consumer([queue])
    const receiving = outcomeOf(() => consumer.receive(5, { signal: never }))
    const storing = stage.later(stage.storeBodies(queue, 'job'))
    await stage.settled('consumer.close()', consumer.close())
    const outcome = await stage.settled('the pending receive', receiving)
    if ('error' in outcome) assert.equal(codeOf(stage.broker, outcome.error), 'ZYQ_CLOSED')
    await storing
    assert.deepEqual((await stage.remaining(queue)).map(textOf), ['job'])
  },

  'broker.close settles a receive that waits, and what it got is not lost': async (stage) => {
    const queue = await stage.queue()
    const broker = await stage.connectedBroker()
    const consumer = await stage.consumer([queue], { broker })
    const receiving = outcomeOf(() => consumer.receive(5, { signal: never }))
    const storing = stage.later(stage.storeBodies(queue, 'job'))
    await stage.settled('close()', broker.close())
    const outcome = await stage.settled('the pending receive', receiving)
    if ('error' in outcome) codeOf(broker, outcome.error)
    await storing
    assert.deepEqual((await stage.remaining(queue)).map(textOf), ['job'])
  },

  'after the broker is closed, its consumers deliver nothing more': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'before')
    const broker = await stage.connectedBroker()
    const consumer = await stage.consumer([queue], { broker })
    await stage.settled('close()', broker.close())
    await stage.storeBodies(queue, 'after')
    const outcome = await stage.settled(
      'receive()',
      outcomeOf(() => consumer.receive(5, { signal: never })),
    )
    assert.ok('error' in outcome, 'it must reject, but it resolved')
    assert.equal(codeOf(broker, outcome.error), 'ZYQ_CLOSED')
    assert.deepEqual((await stage.remaining(queue)).map(textOf), ['before', 'after'])
  },

  'after a close, what was given back is settled no more': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(6))
    const broker = await stage.connectedBroker()
    const closed = await stage.consumer([queue], { broker, prefetch: 3 })
    const ofClosed = await stage.take(closed, 3)
    await stage.settled('consumer.close()', closed.close())
    const orphaned = await stage.consumer([queue], { broker, prefetch: 3 })
    const ofOrphaned = await stage.take(orphaned, 3)
    await stage.settled('close()', broker.close())
    for (const [index, way] of (['ack', 'release', 'reject'] as const).entries()) {
      for (const [consumer, deliveries] of [
        [closed, ofClosed],
        [orphaned, ofOrphaned],
      ] as const) {
        const outcome = await stage.settled(
          `the late ${way}`,
          outcomeOf(() => settleBy(way, consumer, deliveries.slice(index, index + 1))),
        )
        if ('error' in outcome) assert.equal(codeOf(broker, outcome.error), 'ZYQ_CLOSED')
        else assert.deepEqual(outcome.value, [{ status: 'lease-lost' }])
      }
    }
    assert.deepEqual((await stage.remaining(queue)).map(textOf).toSorted(), numbered(6))
  },

  'close while settlements are under way: each is done, or the job is back': async (stage) => {
    const queue = await stage.queue()
    const count = 50
    await stage.storeBodies(queue, ...numbered(count))
    const broker = await stage.connectedBroker()
    const consumer = await stage.consumer([queue], { broker, prefetch: count })
    const deliveries = await stage.take(consumer, count)
    const acks = deliveries.map(async (delivery) => ({
      body: textOf(delivery),
      outcome: await outcomeOf(() => consumer.ack([delivery])),
    }))
    await stage.settled('close()', broker.close())
    const surelyDone: string[] = []
    const surelyNot: string[] = []
    for (const { body, outcome } of await stage.settled('the acks', Promise.all(acks))) {
      const status = 'value' in outcome ? outcome.value[0]?.status : undefined
      if (status === 'ok') surelyDone.push(body)
      if (status === 'lease-lost') surelyNot.push(body)
    }
    const found = (await stage.remaining(queue)).map(textOf)
    assert.deepEqual(
      surelyDone.filter((body) => found.includes(body)),
      [],
      'ok, but there again',
    )
    assert.deepEqual(
      surelyNot.filter((body) => !found.includes(body)),
      [],
      'lease-lost, but gone',
    )
    assert.equal(new Set(found).size, found.length, 'none is there twice')
  },

  'a closed consumer leaves the others of its broker at work': async (stage) => {
    const queue = await stage.queue()
    const broker = await stage.connectedBroker()
    const closed = await stage.consumer([queue], { broker })
    const working = await stage.consumer([queue], { broker })
    const taking = stage.later(stage.takeOne(working))
    await stage.settled('consumer.close()', closed.close())
    await stage.storeBodies(queue, 'job')
    await stage.ackAll(working, [await taking])
  },

  'a consumer may be made anew with the id of one that was closed': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const consumerId = `kit-again-${queue.name}`
    const first = await stage.consumer([queue], { consumerId })
    await stage.takeOne(first)
    await stage.settled('consumer.close()', first.close())
    const second = await stage.consumer([queue], { consumerId })
    await stage.ackAll(second, [await stage.takeOne(second)])
    await stage.expectNoneReady(queue, second)
  },
}

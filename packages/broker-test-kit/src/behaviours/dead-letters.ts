import assert from 'node:assert/strict'
import type { Delivery, Headers, QueueSpec } from '@zyqueue/core/broker'
import { feature, having, lacking, type Behaviours } from '../behaviour.ts'
import { nameOf } from '../expect-statuses.ts'
import { bytesOf, entriesOf, messageTo, textOf, type Stage } from '../stage.ts'
import { oneLoss } from './leases.ts'

const everything = { limit: 100 }

function headersOf(body: string): Headers {
  return { 'zyq-attempt': '3', 'x-note': `grün ${body}`, ['__proto__']: 'a word' }
}

/** Publishes jobs and rejects them one by one, the reason being `ZYQ_JOB_FAILED: <body>`. */
async function bury(stage: Stage, queue: QueueSpec, ...bodies: readonly string[]): Promise<readonly Delivery[]> {
  await stage.store(
    bodies.map((body) => messageTo(queue, { body: bytesOf(body), headers: headersOf(body), priority: 7 })),
  )
  const consumer = await stage.consumer([queue])
  const deliveries = await stage.take(consumer, bodies.length)
  for (const delivery of deliveries) {
    const reason = `ZYQ_JOB_FAILED: ${textOf(delivery)}`
    await stage.reject(consumer, { delivery, reason })
  }
  await stage.settled('consumer.close()', consumer.close())
  return deliveries
}

/** A requeued job is as it was before it died. */
function expectWhole(again: Delivery, buried: readonly Delivery[]): void {
  const before = buried.find(({ id }) => id === again.id)
  assert.ok(before, `${nameOf(again)} is none of those that died`)
  assert.equal(textOf(again), textOf(before), `the body of ${nameOf(again)}`)
  assert.deepEqual(entriesOf(again.headers), entriesOf(before.headers), `the headers of ${nameOf(again)}`)
  assert.equal(again.priority, before.priority, `the priority of ${nameOf(again)}`)
}

async function bodiesOfDead(stage: Stage, queue: QueueSpec): Promise<readonly string[]> {
  return (await stage.settled('list()', stage.broker.admin.deadLetters.list(queue.name, everything))).map(textOf)
}

const whereTheyAreKept = having(feature.deadLetters, {
  'a rejected job is kept with its reason, and delivered no more': async (stage) => {
    const queue = await stage.queue()
    const reason = 'ZYQ_JOB_FAILED: grün 🎉\nand a second line'
    const sent = messageTo(queue, { body: Uint8Array.of(0, 0xff), headers: { 'x-note': 'ü', ['__proto__']: 'a word' } })
    await stage.store([sent])
    const { consumer, delivery } = await stage.takeOneOf(queue)
    await stage.reject(consumer, { delivery, reason })
    await stage.expectNoneReady(queue)
    const [letter, ...more] = await stage.settled('list()', stage.broker.admin.deadLetters.list(queue.name, everything))
    assert.ok(letter)
    assert.equal(more.length, 0)
    assert.equal(letter.id, sent.id)
    assert.equal(letter.queue, queue.name)
    assert.equal(letter.reason, reason)
    assert.deepEqual([...letter.body], [0, 0xff])
    assert.deepEqual(entriesOf(letter.headers), entriesOf(sent.headers))
    assert.equal(Object.getPrototypeOf(letter.headers), null)
    if (letter.diedAtMs === undefined) return
    assert.ok(Math.abs(letter.diedAtMs - Date.now()) < 3_600_000, 'diedAtMs is in milliseconds since 1970')
  },

  'reject with headers replaces all headers': async (stage) => {
    const queue = await stage.queue()
    await stage.store([messageTo(queue, { headers: { 'x-old': 'gone' } })])
    const { consumer, delivery } = await stage.takeOneOf(queue)
    await stage.reject(consumer, { delivery, reason: 'ZYQ_JOB_FAILED', headers: { 'x-new': 'there' } })
    const [letter] = await stage.settled('list()', stage.broker.admin.deadLetters.list(queue.name, everything))
    assert.deepEqual({ ...letter?.headers }, { 'x-new': 'there' })
  },

  'the newest is listed first, and no more than the limit': async (stage) => {
    const queue = await stage.queue()
    await bury(stage, queue, 'a', 'b', 'c')
    assert.deepEqual(await bodiesOfDead(stage, queue), ['c', 'b', 'a'])
    const two = await stage.settled('list()', stage.broker.admin.deadLetters.list(queue.name, { limit: 2 }))
    assert.deepEqual(
      two.map((letter) => letter.reason),
      ['ZYQ_JOB_FAILED: c', 'ZYQ_JOB_FAILED: b'],
    )
  },

  'each queue has its own': async (stage) => {
    const [one, other] = [await stage.queue(), await stage.queue()]
    await bury(stage, one, 'one')
    assert.deepEqual(await bodiesOfDead(stage, one), ['one'])
    assert.deepEqual(await bodiesOfDead(stage, other), [])
    const { deadLetters } = stage.broker.admin
    assert.equal(await stage.settled('requeue()', deadLetters.requeue(other.name)), 0)
    assert.equal(await stage.settled('purge()', deadLetters.purge(other.name)), 0)
  },

  'to requeue by id makes those ready, whole, and leaves the rest': async (stage) => {
    const queue = await stage.queue()
    const buried = await bury(stage, queue, 'a', 'b', 'c')
    const ids = [buried[1]?.id ?? '', 'kit-no-such-id']
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name, ids)), 1)
    const [again, ...more] = await stage.remaining(queue)
    assert.ok(again)
    assert.equal(more.length, 0)
    assert.equal(textOf(again), 'b')
    expectWhole(again, buried)
    assert.deepEqual(await bodiesOfDead(stage, queue), ['c', 'a'])
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name, [])), 0)
  },

  'to requeue without ids makes all ready': async (stage) => {
    const queue = await stage.queue()
    const buried = await bury(stage, queue, 'a', 'b', 'c')
    const consumer = await stage.consumer([queue])
    const taking = stage.later(stage.take(consumer, 3))
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name)), 3)
    const again = await taking
    assert.deepEqual(again.map(textOf).toSorted(), ['a', 'b', 'c'])
    for (const delivery of again) expectWhole(delivery, buried)
    assert.deepEqual(await bodiesOfDead(stage, queue), [])
    await stage.ackAll(consumer, again)
    await stage.expectNoneReady(queue, consumer)
  },

  'a requeued job starts with delivery count 0': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'poison')
    const owner = await stage.mortalOwner(queue)
    await stage.takeOne(owner.consumer)
    await owner.die()
    const { consumer, delivery } = await stage.takeOneOf(queue)
    assert.equal(delivery.deliveryCount, oneLoss(stage))
    await stage.reject(consumer, { delivery, reason: 'ZYQ_JOB_POISON' })
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name)), 1)
    assert.equal((await stage.takeOne(consumer)).deliveryCount, 0)
  },

  'a requeued job can die again': async (stage) => {
    const queue = await stage.queue()
    const [buried] = await bury(stage, queue, 'again')
    const { deadLetters } = stage.broker.admin
    assert.equal(await stage.settled('requeue()', deadLetters.requeue(queue.name, [buried?.id ?? ''])), 1)
    const { consumer, delivery } = await stage.takeOneOf(queue)
    await stage.reject(consumer, { delivery, reason: 'ZYQ_JOB_FAILED: twice' })
    const letters = await stage.settled('list()', deadLetters.list(queue.name, everything))
    assert.deepEqual(
      letters.map((letter) => letter.reason),
      ['ZYQ_JOB_FAILED: twice'],
    )
  },

  'to purge deletes those of the ids, or all': async (stage) => {
    const queue = await stage.queue()
    const buried = await bury(stage, queue, 'a', 'b', 'c')
    const { deadLetters } = stage.broker.admin
    const ids = [buried[0]?.id ?? '', 'kit-no-such-id']
    assert.equal(await stage.settled('purge()', deadLetters.purge(queue.name, [])), 0)
    assert.equal(await stage.settled('purge()', deadLetters.purge(queue.name, ids)), 1)
    assert.deepEqual(await bodiesOfDead(stage, queue), ['c', 'b'])
    assert.equal(await stage.settled('purge()', deadLetters.purge(queue.name)), 2)
    assert.deepEqual(await bodiesOfDead(stage, queue), [])
    assert.equal(await stage.settled('purge()', deadLetters.purge(queue.name)), 0)
    await stage.expectNoneReady(queue)
  },

  'to purge a queue leaves its dead letters': async (stage) => {
    const queue = await stage.queue()
    await bury(stage, queue, 'dead')
    await stage.store([messageTo(queue, { body: bytesOf('waiting') })])
    assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 1)
    assert.deepEqual(await bodiesOfDead(stage, queue), ['dead'])
  },
})

export const deadLetters: Behaviours = {
  ...whereTheyAreKept,
  ...lacking(feature.deadLetters, {
    'a rejected job is gone, and is not listed, requeued or purged': async (stage) => {
      const queue = await stage.queue()
      await bury(stage, queue, 'gone')
      await stage.expectNoneReady(queue)
      const { deadLetters } = stage.broker.admin
      assert.deepEqual(await stage.settled('list()', deadLetters.list(queue.name, everything)), [])
      assert.equal(await stage.settled('requeue()', deadLetters.requeue(queue.name)), 0)
      assert.equal(await stage.settled('purge()', deadLetters.purge(queue.name)), 0)
      await stage.expectNoneReady(queue)
    },
  }),
}

import assert from 'node:assert/strict'
import type { Delivery, QueueSpec } from '@zyqueue/core/broker'
import type { Behaviours } from '../behaviour.ts'
import { bytesOf, entriesOf, messageTo, textOf, type Stage } from '../stage.ts'
import { oneLoss } from './leases.ts'

const everything = { limit: 100 }

/** Publishes jobs and rejects them one by one, the reason being `ZYQ_JOB_FAILED: <body>`. */
async function bury(stage: Stage, queue: QueueSpec, ...bodies: readonly string[]): Promise<readonly Delivery[]> {
  await stage.storeBodies(queue, ...bodies)
  const consumer = await stage.consumer([queue])
  const deliveries = await stage.take(consumer, bodies.length)
  for (const delivery of deliveries) {
    const reason = `ZYQ_JOB_FAILED: ${textOf(delivery)}`
    const results = await stage.settled('reject()', consumer.reject([{ delivery, reason }]))
    assert.deepEqual(results, [{ status: 'ok' }])
  }
  await stage.settled('consumer.close()', consumer.close())
  return deliveries
}

/** Where rejected jobs are not kept, there must be none to see; true where the rest of the test does not apply. */
async function keepsNone(stage: Stage, queue: QueueSpec): Promise<boolean> {
  if (stage.capabilities.deadLetter !== 'none') return false
  const { deadLetters } = stage.broker.admin
  assert.deepEqual(await stage.settled('list()', deadLetters.list(queue.name, everything)), [])
  assert.equal(await stage.settled('requeue()', deadLetters.requeue(queue.name)), 0)
  assert.equal(await stage.settled('purge()', deadLetters.purge(queue.name)), 0)
  await stage.expectNoneReady(queue)
  return true
}

async function bodiesOfDead(stage: Stage, queue: QueueSpec): Promise<readonly string[]> {
  return (await stage.settled('list()', stage.broker.admin.deadLetters.list(queue.name, everything))).map(textOf)
}

export const deadLetters: Behaviours = {
  'a rejected job is kept with its reason, and delivered no more': async (stage) => {
    const queue = await stage.queue()
    const reason = 'ZYQ_JOB_FAILED: grün 🎉\nand a second line'
    const sent = messageTo(queue, { body: Uint8Array.of(0, 0xff), headers: { 'x-note': 'ü', ['__proto__']: 'a word' } })
    await stage.store([sent])
    const { consumer, delivery } = await stage.takeOneOf(queue)
    const results = await stage.settled('reject()', consumer.reject([{ delivery, reason }]))
    assert.deepEqual(results, [{ status: 'ok' }])
    await stage.expectNoneReady(queue)
    if (await keepsNone(stage, queue)) return
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
    const rejection = { delivery, reason: 'ZYQ_JOB_FAILED', headers: { 'x-new': 'there' } }
    assert.deepEqual(await stage.settled('reject()', consumer.reject([rejection])), [{ status: 'ok' }])
    if (await keepsNone(stage, queue)) return
    const [letter] = await stage.settled('list()', stage.broker.admin.deadLetters.list(queue.name, everything))
    assert.deepEqual({ ...letter?.headers }, { 'x-new': 'there' })
  },

  'the newest is listed first, and no more than the limit': async (stage) => {
    const queue = await stage.queue()
    await bury(stage, queue, 'a', 'b', 'c')
    if (await keepsNone(stage, queue)) return
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
    if (await keepsNone(stage, one)) return
    assert.deepEqual(await bodiesOfDead(stage, one), ['one'])
    assert.deepEqual(await bodiesOfDead(stage, other), [])
    const { deadLetters } = stage.broker.admin
    assert.equal(await stage.settled('requeue()', deadLetters.requeue(other.name)), 0)
    assert.equal(await stage.settled('purge()', deadLetters.purge(other.name)), 0)
  },

  'to requeue by id makes those ready, whole, and leaves the rest': async (stage) => {
    const queue = await stage.queue()
    const buried = await bury(stage, queue, 'a', 'b', 'c')
    if (await keepsNone(stage, queue)) return
    const ids = [buried[1]?.id ?? '', 'kit-no-such-id']
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name, ids)), 1)
    const [again, ...more] = await stage.remaining(queue)
    assert.ok(again)
    assert.equal(more.length, 0)
    assert.equal(textOf(again), 'b')
    assert.equal(again.id, buried[1]?.id)
    assert.equal(again.priority, buried[1]?.priority)
    assert.deepEqual(await bodiesOfDead(stage, queue), ['c', 'a'])
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name, [])), 0)
  },

  'to requeue without ids makes all ready': async (stage) => {
    const queue = await stage.queue()
    await bury(stage, queue, 'a', 'b', 'c')
    if (await keepsNone(stage, queue)) return
    const consumer = await stage.consumer([queue])
    const taking = stage.later(stage.take(consumer, 3))
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name)), 3)
    const again = await taking
    assert.deepEqual(again.map(textOf).toSorted(), ['a', 'b', 'c'])
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
    await stage.settled('reject()', consumer.reject([{ delivery, reason: 'ZYQ_JOB_POISON' }]))
    if (await keepsNone(stage, queue)) return
    assert.equal(await stage.settled('requeue()', stage.broker.admin.deadLetters.requeue(queue.name)), 1)
    assert.equal((await stage.takeOne(consumer)).deliveryCount, 0)
  },

  'a requeued job can die again': async (stage) => {
    const queue = await stage.queue()
    const [buried] = await bury(stage, queue, 'again')
    if (await keepsNone(stage, queue)) return
    const { deadLetters } = stage.broker.admin
    assert.equal(await stage.settled('requeue()', deadLetters.requeue(queue.name, [buried?.id ?? ''])), 1)
    const { consumer, delivery } = await stage.takeOneOf(queue)
    await stage.settled('reject()', consumer.reject([{ delivery, reason: 'ZYQ_JOB_FAILED: twice' }]))
    const letters = await stage.settled('list()', deadLetters.list(queue.name, everything))
    assert.deepEqual(
      letters.map((letter) => letter.reason),
      ['ZYQ_JOB_FAILED: twice'],
    )
  },

  'to purge deletes those of the ids, or all': async (stage) => {
    const queue = await stage.queue()
    const buried = await bury(stage, queue, 'a', 'b', 'c')
    if (await keepsNone(stage, queue)) return
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
    if (await keepsNone(stage, queue)) return
    assert.deepEqual(await bodiesOfDead(stage, queue), ['dead'])
  },
}

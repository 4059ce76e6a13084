import assert from 'node:assert/strict'
import type { Delivery, Headers, QueueSpec } from '@zyqueue/core/broker'
import { feature, ifPresent, ifAbsent, type Behaviours } from '../behaviour.ts'
import { expectCode } from '../calls.ts'
import { nameOf } from '../expect-statuses.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, entriesOf, messageTo, queueSpec, textOf } from '../test-data.ts'
import { oneLoss } from './leases.ts'

const allLetters = { limit: 100 }

function headersOf(body: string): Headers {
  return { 'zyq-attempt': '3', 'x-note': `grün ${body}`, ['__proto__']: 'a word' }
}

/** Publishes jobs and rejects them one by one with the reason `ZYQ_JOB_FAILED: <body>`. */
async function rejectAll(
  fixture: Fixture,
  queue: QueueSpec,
  ...bodies: readonly string[]
): Promise<readonly Delivery[]> {
  await fixture.store(
    bodies.map((body) => messageTo(queue, { body: bytesOf(body), headers: headersOf(body), priority: 7 })),
  )
  const consumer = await fixture.consumer([queue])
  const deliveries = await fixture.take(consumer, bodies.length)
  for (const delivery of deliveries) {
    const reason = `ZYQ_JOB_FAILED: ${textOf(delivery)}`
    await fixture.reject(consumer, { delivery, reason })
  }
  await fixture.withTimeout('consumer.close()', consumer.close())
  return deliveries
}

/** A requeued job must have the body, headers and priority that it had before. */
function expectUnchanged(again: Delivery, rejected: readonly Delivery[]): void {
  const before = rejected.find(({ id }) => id === again.id)
  assert.ok(before, `${nameOf(again)} was not rejected before`)
  assert.equal(textOf(again), textOf(before), `the body of ${nameOf(again)}`)
  assert.deepEqual(entriesOf(again.headers), entriesOf(before.headers), `the headers of ${nameOf(again)}`)
  assert.equal(again.priority, before.priority, `the priority of ${nameOf(again)}`)
}

async function bodiesOfDead(fixture: Fixture, queue: QueueSpec): Promise<readonly string[]> {
  return (await fixture.withTimeout('list()', fixture.broker.admin.deadLetters.list(queue.name, allLetters))).map(
    textOf,
  )
}

const whereTheyAreKept = ifPresent(feature.deadLetters, {
  'a rejected job is kept with its reason and not delivered again': async (fixture) => {
    const queue = await fixture.queue()
    const reason = 'ZYQ_JOB_FAILED: grün 🎉\nand a second line'
    const sent = messageTo(queue, { body: Uint8Array.of(0, 0xff), headers: { 'x-note': 'ü', ['__proto__']: 'a word' } })
    await fixture.store([sent])
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    await fixture.reject(consumer, { delivery, reason })
    await fixture.expectNoneReady(queue)
    const [letter, ...more] = await fixture.withTimeout(
      'list()',
      fixture.broker.admin.deadLetters.list(queue.name, allLetters),
    )
    assert.ok(letter)
    assert.equal(more.length, 0)
    assert.equal(letter.id, sent.id)
    assert.equal(letter.queue, queue.name)
    assert.equal(letter.reason, reason)
    assert.deepEqual([...letter.body], [0, 0xff])
    assert.deepEqual(entriesOf(letter.headers), entriesOf(sent.headers))
    assert.equal(Object.getPrototypeOf(letter.headers), null)
    if (letter.diedAtMs === undefined) return
    assert.ok(Math.abs(letter.diedAtMs - Date.now()) < 3_600_000, 'diedAtMs must be in milliseconds since 1970')
  },

  'reject with headers replaces all headers': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.store([messageTo(queue, { headers: { 'x-old': 'gone' } })])
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    await fixture.reject(consumer, { delivery, reason: 'ZYQ_JOB_FAILED', headers: { 'x-new': 'there' } })
    const [letter] = await fixture.withTimeout('list()', fixture.broker.admin.deadLetters.list(queue.name, allLetters))
    assert.deepEqual({ ...letter?.headers }, { 'x-new': 'there' })
  },

  'the newest dead letter is listed first, and at most limit of them': async (fixture) => {
    const queue = await fixture.queue()
    await rejectAll(fixture, queue, 'a', 'b', 'c')
    assert.deepEqual(await bodiesOfDead(fixture, queue), ['c', 'b', 'a'])
    const two = await fixture.withTimeout('list()', fixture.broker.admin.deadLetters.list(queue.name, { limit: 2 }))
    assert.deepEqual(
      two.map((letter) => letter.reason),
      ['ZYQ_JOB_FAILED: c', 'ZYQ_JOB_FAILED: b'],
    )
  },

  'each queue has its own dead letters': async (fixture) => {
    const [one, other] = [await fixture.queue(), await fixture.queue()]
    await rejectAll(fixture, one, 'one')
    assert.deepEqual(await bodiesOfDead(fixture, one), ['one'])
    assert.deepEqual(await bodiesOfDead(fixture, other), [])
    const { deadLetters } = fixture.broker.admin
    assert.equal(await fixture.withTimeout('requeue()', deadLetters.requeue(other.name)), 0)
    assert.equal(await fixture.withTimeout('purge()', deadLetters.purge(other.name)), 0)
  },

  'requeue with ids makes these jobs ready, unchanged, and keeps the rest': async (fixture) => {
    const queue = await fixture.queue()
    const rejected = await rejectAll(fixture, queue, 'a', 'b', 'c')
    const ids = [rejected[1]?.id ?? '', 'kit-no-such-id']
    assert.equal(await fixture.withTimeout('requeue()', fixture.broker.admin.deadLetters.requeue(queue.name, ids)), 1)
    const [again, ...more] = await fixture.takeRemaining(queue)
    assert.ok(again)
    assert.equal(more.length, 0)
    assert.equal(textOf(again), 'b')
    expectUnchanged(again, rejected)
    assert.deepEqual(await bodiesOfDead(fixture, queue), ['c', 'a'])
    assert.equal(await fixture.withTimeout('requeue()', fixture.broker.admin.deadLetters.requeue(queue.name, [])), 0)
  },

  'requeue without ids makes all jobs ready': async (fixture) => {
    const queue = await fixture.queue()
    const rejected = await rejectAll(fixture, queue, 'a', 'b', 'c')
    const consumer = await fixture.consumer([queue])
    const taking = fixture.inBackground(fixture.take(consumer, 3))
    assert.equal(await fixture.withTimeout('requeue()', fixture.broker.admin.deadLetters.requeue(queue.name)), 3)
    const again = await taking
    assert.deepEqual(again.map(textOf).toSorted(), ['a', 'b', 'c'])
    for (const delivery of again) expectUnchanged(delivery, rejected)
    assert.deepEqual(await bodiesOfDead(fixture, queue), [])
    await fixture.ackAll(consumer, again)
    await fixture.expectNoneReady(queue, consumer)
  },

  'a requeued job starts with delivery count 0': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'poison')
    const owner = await fixture.ownerToLose(queue)
    await fixture.takeOne(owner.consumer)
    await owner.lose()
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    assert.equal(delivery.deliveryCount, oneLoss(fixture))
    await fixture.reject(consumer, { delivery, reason: 'ZYQ_JOB_POISON' })
    assert.equal(await fixture.withTimeout('requeue()', fixture.broker.admin.deadLetters.requeue(queue.name)), 1)
    assert.equal((await fixture.takeOne(consumer)).deliveryCount, 0)
  },

  'a requeued job can be rejected again': async (fixture) => {
    const queue = await fixture.queue()
    const [rejected] = await rejectAll(fixture, queue, 'again')
    const { deadLetters } = fixture.broker.admin
    assert.equal(await fixture.withTimeout('requeue()', deadLetters.requeue(queue.name, [rejected?.id ?? ''])), 1)
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    await fixture.reject(consumer, { delivery, reason: 'ZYQ_JOB_FAILED: twice' })
    const letters = await fixture.withTimeout('list()', deadLetters.list(queue.name, allLetters))
    assert.deepEqual(
      letters.map((letter) => letter.reason),
      ['ZYQ_JOB_FAILED: twice'],
    )
  },

  'purge deletes the dead letters with these ids, or all': async (fixture) => {
    const queue = await fixture.queue()
    const rejected = await rejectAll(fixture, queue, 'a', 'b', 'c')
    const { deadLetters } = fixture.broker.admin
    const ids = [rejected[0]?.id ?? '', 'kit-no-such-id']
    assert.equal(await fixture.withTimeout('purge()', deadLetters.purge(queue.name, [])), 0)
    assert.equal(await fixture.withTimeout('purge()', deadLetters.purge(queue.name, ids)), 1)
    assert.deepEqual(await bodiesOfDead(fixture, queue), ['c', 'b'])
    assert.equal(await fixture.withTimeout('purge()', deadLetters.purge(queue.name)), 2)
    assert.deepEqual(await bodiesOfDead(fixture, queue), [])
    assert.equal(await fixture.withTimeout('purge()', deadLetters.purge(queue.name)), 0)
    await fixture.expectNoneReady(queue)
  },

  'purging a queue keeps its dead letters': async (fixture) => {
    const queue = await fixture.queue()
    await rejectAll(fixture, queue, 'dead')
    await fixture.store([messageTo(queue, { body: bytesOf('waiting') })])
    assert.equal(await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name)), 1)
    assert.deepEqual(await bodiesOfDead(fixture, queue), ['dead'])
  },
})

export const deadLetters: Behaviours = {
  ...whereTheyAreKept,

  'list, requeue and purge of an unknown queue reject with ZYQ_QUEUE_NOT_FOUND': async (fixture) => {
    const { broker } = fixture
    const { deadLetters } = broker.admin
    const { name } = queueSpec()
    const calls = {
      'list()': () => deadLetters.list(name, allLetters),
      'list() of none': () => deadLetters.list(name, { limit: 0 }),
      'requeue()': () => deadLetters.requeue(name),
      'requeue() with ids': () => deadLetters.requeue(name, ['kit-no-such-id']),
      'requeue() of none': () => deadLetters.requeue(name, []),
      'purge()': () => deadLetters.purge(name),
      'purge() with ids': () => deadLetters.purge(name, ['kit-no-such-id']),
      'purge() of none': () => deadLetters.purge(name, []),
    }
    for (const [what, call] of Object.entries(calls)) {
      await fixture.withTimeout(what, expectCode(broker, 'ZYQ_QUEUE_NOT_FOUND', call))
    }
    const listed = await fixture.withTimeout('queues()', broker.admin.queues([name]))
    assert.deepEqual(listed, [], 'the calls created the queue')
  },

  ...ifAbsent(feature.deadLetters, {
    'a rejected job is deleted and cannot be listed, requeued or purged': async (fixture) => {
      const queue = await fixture.queue()
      await rejectAll(fixture, queue, 'gone')
      await fixture.expectNoneReady(queue)
      const { deadLetters } = fixture.broker.admin
      assert.deepEqual(await fixture.withTimeout('list()', deadLetters.list(queue.name, allLetters)), [])
      assert.equal(await fixture.withTimeout('requeue()', deadLetters.requeue(queue.name)), 0)
      assert.equal(await fixture.withTimeout('purge()', deadLetters.purge(queue.name)), 0)
      await fixture.expectNoneReady(queue)
    },
  }),
}

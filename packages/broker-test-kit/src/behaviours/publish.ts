import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { ConfigError, type Headers, type PublishResult } from '@zyqueue/core/broker'
import { feature, ifPresent, ifAbsent, MAX_BODY_SENT, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import { expectStatuses, nameOf } from '../expect-statuses.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, consumeOptions, entriesOf, messageTo, numericBodies, queueSpec, textOf } from '../test-data.ts'

const MAX_BATCH_SENT = 10_000
/** The longest queue name that core allows. */
const MAX_NAME_BYTES = 200

export const publish: Behaviours = {
  'an empty batch returns no results': async (fixture) => {
    assert.deepEqual(await fixture.withTimeout('publish()', fixture.broker.publish([])), [])
  },

  'a message arrives unchanged': async (fixture) => {
    const queue = await fixture.queue()
    const sent = messageTo(queue, { body: bytesOf('{"file":"a.png"}'), headers: { 'zyq-task': 'resize' } })
    await fixture.store([sent])
    const { delivery } = await fixture.takeOneOf(queue)
    assert.equal(delivery.id, sent.id)
    assert.equal(delivery.queue, queue.name)
    assert.equal(textOf(delivery), '{"file":"a.png"}')
    assert.deepEqual({ ...delivery.headers }, { 'zyq-task': 'resize' })
    assert.ok(delivery.priority >= 0 && delivery.priority <= 9, 'priority must be from 0 to 9')
    assert.equal(delivery.deliveryCount, 0)
  },

  'every message of a batch of maxBatch gets a result and arrives': async (fixture) => {
    const queue = await fixture.queue()
    const bodies = numericBodies(Math.min(fixture.capabilities.maxBatch, MAX_BATCH_SENT))
    await fixture.storeBodies(queue, ...bodies)
    const consumer = await fixture.consumer([queue], { prefetch: bodies.length })
    const deliveries = await fixture.take(consumer, bodies.length)
    assert.deepEqual(deliveries.map(textOf).toSorted(), bodies.toSorted())
    await fixture.ackAll(consumer, deliveries)
    await fixture.expectNoneReady(queue, consumer)
  },

  'a batch may contain messages for several queues': async (fixture) => {
    const queues = [await fixture.queue(), await fixture.queue(), await fixture.queue()]
    const bodies = numericBodies(Math.min(fixture.capabilities.maxBatch, 9))
    const queueOf = (index: number) => queues[index % queues.length] ?? queueSpec()
    await fixture.store(bodies.map((body, index) => messageTo(queueOf(index), { body: bytesOf(body) })))
    for (const [index, queue] of queues.entries()) {
      const expected = bodies.filter((_, place) => place % queues.length === index)
      assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), expected)
    }
  },

  'results are in the order of the messages, also if one is refused': async (fixture) => {
    const { maxBatch, maxBodyBytes } = fixture.capabilities
    const queue = await fixture.queue()
    const bad =
      maxBodyBytes < MAX_BODY_SENT
        ? messageTo(queue, { body: new Uint8Array(maxBodyBytes + 1) })
        : messageTo(queue, { options: { 'zyq-no-such-option': true } })
    // Reversed or sorted results differ from these.
    const [first, third, last] = ['first', 'third', 'last'].map((body) => messageTo(queue, { body: bytesOf(body) }))
    assert.ok(first && third && last)
    const messages = [first, bad, third, last]
    const results: PublishResult[] = []
    for (let start = 0; start < messages.length; start += maxBatch) {
      const batch = messages.slice(start, start + maxBatch)
      results.push(...(await fixture.withTimeout('publish()', fixture.broker.publish(batch))))
    }
    expectStatuses('publish()', messages, results, ['stored', 'refused', 'stored', 'stored'])
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf).toSorted(), ['first', 'last', 'third'])
  },

  'a body may contain any bytes': async (fixture) => {
    const queue = await fixture.queue()
    const bodies = [
      Uint8Array.of(0),
      Uint8Array.of(0xff, 0xfe, 0x00, 0x0d, 0x0a, 0x00),
      Uint8Array.from({ length: 256 }, (_, index) => index),
      bytesOf('null'),
      bytesOf('"grün 🎉 \u2028"'),
      randomBytes(Math.min(100_000, fixture.capabilities.maxBodyBytes)),
    ]
    await fixture.store(bodies.map((body) => messageTo(queue, { body })))
    const found = await fixture.takeRemaining(queue)
    assert.deepEqual(
      found.map((delivery) => Buffer.from(delivery.body).toString('hex')),
      bodies.map((body) => Buffer.from(body).toString('hex')),
    )
  },

  'a body contains no neighboring bytes of its buffer': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.store([messageTo(queue, { body: bytesOf('[the body]').subarray(1, 9) })])
    const { delivery } = await fixture.takeOneOf(queue)
    assert.ok(delivery.body instanceof Uint8Array)
    assert.equal(textOf(delivery), 'the body')
  },

  'an empty body arrives empty or is refused': async (fixture) => {
    const queue = await fixture.queue()
    const [result] = await fixture.withTimeout(
      'publish()',
      fixture.broker.publish([messageTo(queue, { body: new Uint8Array() })]),
    )
    assert.ok(result)
    assert.notEqual(result.status, 'unknown')
    const expected = result.status === 'stored' ? [0] : []
    assert.deepEqual(
      (await fixture.takeRemaining(queue)).map((delivery) => delivery.body.byteLength),
      expected,
    )
  },

  ...ifPresent(feature.bodyLimit, {
    'a body of maxBodyBytes is stored, and one more byte is refused': async (fixture) => {
      const { maxBodyBytes } = fixture.capabilities
      const queue = await fixture.queue()
      const largest = new Uint8Array(maxBodyBytes).fill(0x61)
      await fixture.store([messageTo(queue, { body: largest })])
      const tooLarge = messageTo(queue, { body: new Uint8Array(maxBodyBytes + 1).fill(0x61) })
      const [result] = await fixture.withTimeout('publish()', fixture.broker.publish([tooLarge]))
      assert.equal(result?.status, 'refused')
      assert.equal(codeOf(fixture.broker, 'error' in result ? result.error : undefined), 'ZYQ_BODY_TOO_LARGE')
      const [found, ...more] = await fixture.takeRemaining(queue)
      assert.ok(found && Buffer.from(found.body).equals(largest), 'the largest body must arrive complete')
      assert.equal(more.length, 0)
    },
  }),

  'changing the body and headers after publish does not change the stored message': async (fixture) => {
    const queue = await fixture.queue()
    const body = Buffer.from('as sent')
    const headers = { 'zyq-note': 'as sent' }
    await fixture.store([messageTo(queue, { body, headers })])
    body.fill(0x78)
    headers['zyq-note'] = 'changed'
    const { delivery } = await fixture.takeOneOf(queue)
    assert.equal(textOf(delivery), 'as sent')
    assert.equal(delivery.headers['zyq-note'], 'as sent')
  },

  'headers arrive complete and have no prototype': async (fixture) => {
    const queue = await fixture.queue()
    const headers: Headers = {
      'zyq-task': 'resize',
      'x-empty': '',
      'x-unicode': 'grüße 🎉 \u0000 \u2028',
      'x-lines': 'one\r\ntwo',
      'x-json': '{"a":[1,"\\""]}',
      'x-long': 'é'.repeat(1000),
      constructor: 'a word like any other',
      ['__proto__']: 'likewise',
    }
    await fixture.store([messageTo(queue, { headers }), messageTo(queue)])
    const [withHeaders, without] = await fixture.takeRemaining(queue)
    assert.ok(withHeaders && without)
    assert.deepEqual(entriesOf(withHeaders.headers), entriesOf(headers))
    assert.deepEqual(Object.keys(without.headers), [])
    assert.equal(Object.getPrototypeOf(withHeaders.headers), null)
    assert.equal(Object.getPrototypeOf(without.headers), null)
  },

  'ids of up to 63 ASCII characters arrive unchanged': async (fixture) => {
    const queue = await fixture.queue()
    const unique = randomBytes(8).toString('hex')
    const ids = [`${unique}!"#$%&'()*+,-./:;<=>?@[\\]^_\`{|}~`, `${unique}-`.padEnd(63, 'x')]
    await fixture.store(ids.map((id) => messageTo(queue, { id })))
    assert.deepEqual(
      (await fixture.takeRemaining(queue)).map((delivery) => delivery.id),
      ids,
    )
  },

  ...ifPresent(feature.idempotentPublish, {
    'a message with the id of a stored message is not stored again': async (fixture) => {
      const { queue, message, found } = await publishThreeTimes(fixture)
      assert.equal(found.length, 1, `${found.length} deliveries of a message that was published three times`)
      await fixture.store([message])
      await fixture.expectNoneReady(queue)
    },
  }),

  ...ifAbsent(feature.idempotentPublish, {
    'a message with the id of a stored message is reported as stored': async (fixture) => {
      const { found } = await publishThreeTimes(fixture)
      assert.ok(
        found.length >= 1 && found.length <= 3,
        `${found.length} deliveries of a message that was published three times`,
      )
    },
  }),

  'queue names may contain every character of task names': async (fixture) => {
    const unique = queueSpec().name
    const names = [`${unique}/:.*>#$'"\\{}[]é🎉`, `${unique}-`.padEnd(MAX_NAME_BYTES, 'q')]
    for (const name of names) {
      const queue = queueSpec(name)
      await fixture.withTimeout('declare()', fixture.broker.declare([queue]))
      await fixture.storeBodies(queue, name)
      const { consumer, delivery } = await fixture.takeOneOf(queue)
      assert.equal(delivery.queue, name)
      assert.equal(textOf(delivery), name)
      await fixture.ackAll(consumer, [delivery])
    }
  },

  'queue names that differ in case, last byte or punctuation are different queues': async (fixture) => {
    const unique = queueSpec().name
    const long = `${unique}-`.padEnd(MAX_NAME_BYTES - 1, 'q')
    const marks = ['.', '_', '-', '/', '%2F', '*', 'é', 'e\u0301']
    const names = [`${unique}a`, `${unique}A`, `${long}1`, `${long}2`, ...marks.map((mark) => `${unique}${mark}x`)]
    const queues = names.map(queueSpec)
    await fixture.withTimeout('declare()', fixture.broker.declare(queues))
    await fixture.store(queues.map((queue) => messageTo(queue, { body: bytesOf(queue.name) })))
    for (const queue of queues) {
      const { consumer, delivery } = await fixture.takeOneOf(queue)
      assert.equal(textOf(delivery), queue.name, `a consumer of ${queue.name} got ${nameOf(delivery)}`)
      assert.equal(delivery.queue, queue.name)
      await fixture.ackAll(consumer, [delivery])
      await fixture.withTimeout('consumer.close()', consumer.close())
    }
    const listed = (await fixture.withTimeout('queues()', fixture.broker.admin.queues(names))).map(({ name }) => name)
    assert.deepEqual(
      names.filter((name) => !listed.includes(name)),
      [],
      'queues that queues() does not list',
    )
  },

  'repeated and concurrent declares keep the queue and its jobs': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'kept')
    const other = await fixture.connectedBroker()
    const declared = [fixture.broker.declare([queue, queue]), other.declare([queue]), fixture.broker.declare([])]
    await fixture.withTimeout('declare()', Promise.all(declared))
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['kept'])
  },

  'several brokers may declare a new queue at once': async (fixture) => {
    const queue = queueSpec()
    const brokers = [fixture.broker, await fixture.connectedBroker(), await fixture.connectedBroker()]
    await fixture.withTimeout('declare()', Promise.all(brokers.map((broker) => broker.declare([queue]))))
    await fixture.storeBodies(queue, 'there')
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['there'])
  },

  'an unknown queue option is refused with ConfigError': async (fixture) => {
    const { name } = await fixture.queue()
    const queue = { name, options: { 'zyq-no-such-option': true } }
    await fixture.withTimeout('declare()', expectConfigError(fixture.broker.declare([queue])))
    await fixture.withTimeout('consume()', expectConfigError(fixture.broker.consume(consumeOptions([queue]))))
  },

  'an unknown message option is refused with ConfigError': async (fixture) => {
    const queue = await fixture.queue()
    const message = messageTo(queue, { options: { 'zyq-no-such-option': true } })
    const [result] = await fixture.withTimeout('publish()', fixture.broker.publish([message]))
    assert.equal(result?.status, 'refused')
    assert.ok('error' in result && result.error instanceof ConfigError, 'the error must be a ConfigError')
    await fixture.expectNoneReady(queue)
  },

  '200 concurrent publishes are all stored': async (fixture) => {
    const queue = await fixture.queue()
    const publishes = numericBodies(200).map((body) => fixture.storeBodies(queue, body))
    await fixture.withTimeout('the publishes', Promise.all(publishes))
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf).toSorted(), numericBodies(200).toSorted())
  },
}

/** Publishes a message three times, with two brokers, and receives its copies. */
async function publishThreeTimes(fixture: Fixture) {
  const queue = await fixture.queue()
  const message = messageTo(queue)
  await fixture.store([message])
  await fixture.store([message])
  const other = await fixture.connectedBroker()
  expectStatuses('publish()', [message], await fixture.withTimeout('publish()', other.publish([message])), 'stored')
  const found = await fixture.takeRemaining(queue)
  for (const delivery of found) assert.equal(delivery.id, message.id)
  return { queue, message, found }
}

async function expectConfigError(promise: Promise<unknown>): Promise<void> {
  const outcome = await outcomeOf(() => promise)
  assert.ok('error' in outcome, 'the call must reject with a ConfigError, but it resolved')
  assert.ok(
    outcome.error instanceof ConfigError,
    `the call must reject with a ConfigError, not ${String(outcome.error)}`,
  )
}

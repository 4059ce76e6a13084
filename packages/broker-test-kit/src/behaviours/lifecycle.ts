import assert from 'node:assert/strict'
import type { Behaviours } from '../behaviour.ts'
import { callsOf, codeOf, expectCode, outcomeOf } from '../calls.ts'
import { HandleWatch } from '../held-handles.ts'
import { bytesOf, consumeOptions, messageTo, numericBodies, queueSpec, textOf } from '../test-data.ts'

export const lifecycle: Behaviours = {
  'capabilities are frozen and consistent': async ({ broker, capabilities }) => {
    assert.ok(Object.isFrozen(capabilities), 'capabilities must be frozen')
    assert.equal(typeof capabilities.durable, 'boolean')
    assert.equal(typeof capabilities.idempotentPublish, 'boolean')
    assert.ok(['native', 'emulated', 'none'].includes(capabilities.delay), 'delay')
    assert.ok(['native', 'emulated', 'none'].includes(capabilities.deadLetter), 'deadLetter')
    assert.ok(['native', 'emulated', 'none'].includes(capabilities.deliveryCount), 'deliveryCount')
    assert.ok(['native', 'republish'].includes(capabilities.release), 'release')
    assert.ok(Number.isInteger(capabilities.priorities), 'priorities must be an integer')
    assert.ok(capabilities.priorities >= 1 && capabilities.priorities <= 10, 'priorities must be from 1 to 10')
    assert.ok(
      Number.isInteger(capabilities.maxBatch) && capabilities.maxBatch >= 1,
      'maxBatch must be an integer of at least 1',
    )
    assert.ok(Number.isInteger(capabilities.maxBodyBytes) && capabilities.maxBodyBytes >= 1, 'maxBodyBytes')
    const { leases } = broker
    assert.ok(['renewable', 'connection', 'message'].includes(leases.kind), 'leases.kind')
    if (leases.kind === 'connection') {
      const counts = capabilities.deliveryCount === 'emulated'
      assert.equal(
        leases.reclaim !== undefined,
        counts,
        'leases.reclaim must be present exactly if deliveryCount is emulated',
      )
    }
  },

  'capabilities are the same before connect and after close': async (fixture) => {
    const broker = await fixture.newBroker()
    const before = { ...broker.capabilities }
    await fixture.withTimeout('connect()', broker.connect())
    assert.deepEqual({ ...broker.capabilities }, before)
    await fixture.withTimeout('close()', broker.close())
    assert.deepEqual({ ...broker.capabilities }, before)
  },

  'a second or concurrent connect changes nothing': async (fixture) => {
    const broker = await fixture.newBroker()
    await fixture.withTimeout('two connects', Promise.all([broker.connect(), broker.connect()]))
    await fixture.withTimeout('connect()', broker.connect())
    const queue = await fixture.queue()
    await fixture.withTimeout('publish()', broker.publish([messageTo(queue)]))
    await fixture.withTimeout('connect()', broker.connect())
    assert.equal((await fixture.takeRemaining(queue)).length, 1)
  },

  'every call before connect settles': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.newBroker()
    for (const [name, call] of callsOf(broker, queue)) {
      const outcome = await fixture.withTimeout(name, outcomeOf(call))
      if ('error' in outcome) codeOf(broker, outcome.error)
    }
  },

  'every call after close rejects with ZYQ_CLOSED': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    await fixture.withTimeout('close()', broker.close())
    for (const [name, call] of callsOf(broker, queue)) {
      await fixture.withTimeout(name, expectCode(broker, 'ZYQ_CLOSED', call))
    }
    await fixture.withTimeout(
      'connect()',
      expectCode(broker, 'ZYQ_CLOSED', () => broker.connect()),
    )
    await fixture.expectNoneReady(queue)
  },

  'a broker that was never connected can be closed': async (fixture) => {
    const broker = await fixture.newBroker()
    await fixture.withTimeout('close()', broker.close())
    await fixture.withTimeout(
      'declare()',
      expectCode(broker, 'ZYQ_CLOSED', () => broker.declare([queueSpec()])),
    )
  },

  'close during connect: both settle and the broker stays closed': async (fixture) => {
    const broker = await fixture.newBroker()
    const connecting = outcomeOf(() => broker.connect())
    await fixture.withTimeout('close()', broker.close())
    await fixture.withTimeout('connect()', connecting)
    await fixture.withTimeout(
      'declare()',
      expectCode(broker, 'ZYQ_CLOSED', () => broker.declare([queueSpec()])),
    )
  },

  'a second or concurrent close changes nothing': async (fixture) => {
    const broker = await fixture.connectedBroker()
    await fixture.withTimeout('two closes', Promise.all([broker.close(), broker.close()]))
    await fixture.withTimeout('close()', broker.close())
  },

  'close settles pending calls': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    const pending = [...callsOf(broker, queue)].map(async ([name, call]) => ({ name, outcome: await outcomeOf(call) }))
    await fixture.withTimeout('close()', broker.close())
    for (const { name, outcome } of await fixture.withTimeout('the pending calls', Promise.all(pending))) {
      if ('error' in outcome) assert.doesNotThrow(() => codeOf(broker, outcome.error), name)
    }
  },

  'close settles pending publishes, and their results are true': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    const pending = numericBodies(50).map(async (body) => ({
      body,
      outcome: await outcomeOf(() => broker.publish([messageTo(queue, { body: bytesOf(body) })])),
    }))
    await fixture.withTimeout('close()', broker.close())
    const stored: string[] = []
    const refused: string[] = []
    for (const { body, outcome } of await fixture.withTimeout('the publishes', Promise.all(pending))) {
      if ('error' in outcome) codeOf(broker, outcome.error)
      const [result] = 'value' in outcome ? outcome.value : []
      if (result?.status === 'stored') stored.push(body)
      else if (result?.status === 'refused') refused.push(body)
    }
    const found = (await fixture.takeRemaining(queue)).map(textOf)
    assert.deepEqual(
      stored.filter((body) => !found.includes(body)),
      [],
      'the results are stored, but the jobs are not in the queue',
    )
    assert.deepEqual(
      refused.filter((body) => found.includes(body)),
      [],
      'the results are refused, but the jobs are in the queue',
    )
  },

  'errorCode returns a code for any value': async ({ broker }) => {
    const circular = new Error('circular')
    circular.cause = circular
    const { proxy: revoked, revoke } = Proxy.revocable({}, {})
    revoke()
    const hostile = {
      get code(): never {
        throw new Error('hostile')
      },
      get message(): never {
        throw new Error('hostile')
      },
    }
    const garbage: readonly unknown[] = [
      undefined,
      null,
      0,
      -0,
      NaN,
      10n,
      '',
      'ZYQ_NO_SUCH_CODE',
      Symbol('s'),
      () => undefined,
      [],
      {},
      Object.create(null),
      { code: 'ZYQ_NO_SUCH_CODE' },
      { code: 42, message: null, name: {} },
      { errno: -111, code: 'ECONNREFUSED' },
      new Error('x'),
      new AggregateError([new Error('x')]),
      AbortSignal.abort().reason,
      circular,
      hostile,
      revoked,
    ]
    for (const error of garbage) codeOf(broker, error)
  },

  'a connected, idle broker does not keep the process alive': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.newBroker()
    const watch = new HandleWatch()
    watch.start()
    try {
      await fixture.withTimeout(
        'connect()',
        watch.watch(() => broker.connect()),
      )
      await fixture.withTimeout(
        'publish()',
        watch.watch(() => broker.publish([messageTo(queue)])),
      )
      const consumer = await fixture.withTimeout(
        'consume()',
        watch.watch(() => broker.consume(consumeOptions([queue]))),
      )
      const deliveries = await fixture.withTimeout(
        'receive()',
        watch.watch(() => consumer.receive(10, { signal: new AbortController().signal })),
      )
      await fixture.withTimeout(
        'ack()',
        watch.watch(() => consumer.ack(deliveries)),
      )
      await fixture.eventually('no handle of the broker keeps the process alive', () => watch.held().length === 0)
    } finally {
      watch.stop()
    }
  },
}

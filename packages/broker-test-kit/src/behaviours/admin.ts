import assert from 'node:assert/strict'
import type { Finding, QueueStats } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { expectCode } from '../calls.ts'
import type { Fixture } from '../fixture.ts'
import { messageTo, newConsumerId, numericBodies, queueSpec } from '../test-data.ts'

/** Waits until the queue has these figures. Figures that the broker leaves out are not compared. */
async function expectStats(fixture: Fixture, queue: string, expected: Omit<QueueStats, 'name'>): Promise<void> {
  let latest: unknown
  const known = async (): Promise<boolean> => {
    const [stats] = await fixture.broker.admin.queues([queue])
    latest = stats
    if (stats === undefined) return false
    const figures = Object.entries({ name: queue, ...expected })
    return figures.every(([key, value]) => !(key in stats) || Reflect.get(stats, key) === value)
  }
  await fixture
    .eventually(`the figures of the queue`, known)
    .catch((error: unknown) => assert.deepEqual(latest, { name: queue, ...expected }, String(error)))
}

const workerList = ifPresent(feature.workers, {
  'workers are listed with their client and queues until they close': async (fixture) => {
    const { admin } = fixture.broker
    assert.ok(admin.workers)
    const queues = [await fixture.queue(), await fixture.queue()]
    const client = { name: `${newConsumerId()}.1`, host: 'kit.example', pid: 4711 }
    const consumer = await fixture.consumer(queues, { client, broker: await fixture.connectedBroker(), prefetch: 1 })
    await fixture.storeBodies(queueSpec(queues[0]?.name), 'held')
    const delivery = await fixture.takeOne(consumer)
    const find = async () => (await admin.workers?.())?.find((worker) => worker.client.name === client.name)
    const worker = await fixture.eventually('the worker is listed', async () => {
      const found = await find()
      return found?.active === 0 ? undefined : found
    })
    assert.deepEqual({ ...worker.client }, client)
    assert.deepEqual(worker.queues.toSorted(), queues.map(({ name }) => name).toSorted())
    assert.ok(worker.active === undefined || worker.active === 1, `the worker holds ${worker.active} jobs instead of 1`)
    assert.equal(typeof worker.id, 'string')
    if (worker.connectedAtMs !== undefined) {
      assert.ok(
        Math.abs(worker.connectedAtMs - Date.now()) < 3_600_000,
        'connectedAtMs must be in milliseconds since 1970',
      )
    }
    await fixture.ackAll(consumer, [delivery])
    await fixture.withTimeout('consumer.close()', consumer.close())
    await fixture.eventually('the worker is gone', async () => (await find()) === undefined)
  },

  'a lost worker is not listed': async (fixture) => {
    const { admin } = fixture.broker
    assert.ok(admin.workers)
    const queue = await fixture.queue()
    const client = { name: `${newConsumerId()}.1`, host: 'kit.example', pid: 4712 }
    const owner = await fixture.ownerToLose(queue, { client })
    await owner.lose()
    await fixture.eventually('the worker is gone', async () =>
      (await admin.workers?.())?.every((worker) => worker.client.name !== client.name),
    )
  },
})

export const admin: Behaviours = {
  'a declared queue is listed with its figures': async (fixture) => {
    const queue = await fixture.queue()
    await expectStats(fixture, queue.name, { ready: 0, delayed: 0, active: 0, dead: 0, workers: 0 })
    await fixture.storeBodies(queue, ...numericBodies(5))
    await expectStats(fixture, queue.name, { ready: 5, delayed: 0, active: 0, dead: 0, workers: 0 })
    const delayed = fixture.capabilities.delay === 'none' ? 0 : 2
    for (let sent = 0; sent < delayed; sent++) await fixture.store([messageTo(queue, { delayMs: 86_400_000 })])
    const consumer = await fixture.consumer([queue], { prefetch: 3 })
    const [rejected, released, acked] = await fixture.take(consumer, 3)
    assert.ok(rejected && released && acked)
    await expectStats(fixture, queue.name, { ready: 2, delayed, active: 3, dead: 0, workers: 1 })
    const dead = fixture.capabilities.deadLetter === 'none' ? 0 : 1
    await fixture.reject(consumer, { delivery: rejected, reason: 'ZYQ_JOB_FAILED' })
    await fixture.release(consumer, { delivery: released, delayMs: 0 })
    await fixture.ackAll(consumer, [acked])
    await fixture.withTimeout('consumer.close()', consumer.close())
    await expectStats(fixture, queue.name, { ready: 3, delayed, active: 0, dead, workers: 0 })
  },

  'the time at which the oldest ready job was stored, if it is reported, is that of the oldest': async (fixture) => {
    const queue = await fixture.queue()
    const oldest = async (): Promise<number | undefined> =>
      (await fixture.withTimeout('queues()', fixture.broker.admin.queues([queue.name])))[0]?.oldestStoredAtMs
    assert.equal(await oldest(), undefined, 'an empty queue has no oldest job')
    await fixture.storeBodies(queue, 'first')
    const first = await oldest()
    if (first === undefined) return
    assert.ok(Math.abs(first - Date.now()) < 3_600_000, 'oldestStoredAtMs must be in milliseconds since 1970')
    const since = Date.now()
    await fixture.eventually('the clock advances', async () => Date.now() > since + 5)
    const priority = fixture.capabilities.priorities > 1 ? 9 : 4
    await fixture.store([messageTo(queue, { priority }), messageTo(queue)])
    if (fixture.capabilities.delay !== 'none') await fixture.store([messageTo(queue, { delayMs: 86_400_000 })])
    assert.equal(await oldest(), first)
    const consumer = await fixture.consumer([queue], { prefetch: 3 })
    const deliveries = await fixture.take(consumer, 3)
    assert.equal(await oldest(), undefined, 'held and delayed jobs are not ready')
    await fixture.ackAll(consumer, deliveries)
    await fixture.storeBodies(queue, 'later')
    assert.ok(((await oldest()) ?? 0) > first)
  },

  'figures are whole numbers and each queue is listed once': async (fixture) => {
    await fixture.queue()
    const queues = await fixture.withTimeout('queues()', fixture.broker.admin.queues())
    assert.equal(new Set(queues.map(({ name }) => name)).size, queues.length)
    for (const { name, details: _details, ...figures } of queues) {
      assert.equal(typeof name, 'string')
      for (const figure of Object.values(figures))
        assert.ok(Number.isInteger(figure) && figure >= 0, `${name}: ${figure}`)
    }
  },

  'queues lists only the named queues, and none for an empty list': async (fixture) => {
    const { admin } = fixture.broker
    const [one, other] = [await fixture.queue(), await fixture.queue()]
    const names = [one.name, other.name, queueSpec().name]
    const listed = await fixture.withTimeout('queues()', admin.queues(names))
    assert.deepEqual(listed.map(({ name }) => name).toSorted(), [one.name, other.name].toSorted())
    assert.deepEqual(await fixture.withTimeout('queues()', admin.queues([])), [])
  },

  ...workerList,

  'purge deletes ready and delayed jobs, and nothing else': async (fixture) => {
    const queue = await fixture.queue()
    const other = await fixture.queue()
    await fixture.storeBodies(other, 'other')
    await fixture.storeBodies(queue, ...numericBodies(6))
    const consumer = await fixture.consumer([queue], { prefetch: 2 })
    const held = await fixture.take(consumer, 2)
    const delayed = fixture.capabilities.delay === 'none' ? 0 : 2
    for (let sent = 0; sent < delayed; sent++) await fixture.store([messageTo(queue, { delayMs: 86_400_000 })])
    assert.equal(await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name)), 4 + delayed)
    assert.equal(await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name)), 0)
    await fixture.ackAll(consumer, held)
    await fixture.withTimeout('consumer.close()', consumer.close())
    await fixture.expectNoneReady(queue)
    assert.equal((await fixture.takeRemaining(other)).length, 1)
  },

  'a purged queue accepts and delivers jobs': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'gone')
    const consumer = await fixture.consumer([queue], { prefetch: 1 })
    await fixture.ackAll(consumer, [await fixture.takeOne(consumer)])
    await fixture.withTimeout('purge()', fixture.broker.admin.purge(queue.name))
    await fixture.storeBodies(queue, 'new')
    await fixture.ackAll(consumer, [await fixture.takeOne(consumer)])
  },

  'purge of an unknown queue rejects with ZYQ_QUEUE_NOT_FOUND': async (fixture) => {
    const { broker } = fixture
    const { name } = queueSpec()
    await fixture.withTimeout(
      'purge()',
      expectCode(broker, 'ZYQ_QUEUE_NOT_FOUND', () => broker.admin.purge(name)),
    )
  },

  'check returns findings, and version is not empty': async (fixture) => {
    expectFindings(await fixture.withTimeout('check()', fixture.broker.admin.check()))
    assert.ok((await fixture.withTimeout('version()', fixture.broker.admin.version())).length > 0)
  },

  ...ifPresent(feature.brokerWithFinding, {
    'check finds a bad setting': async (fixture) => {
      const broker = await fixture.brokerWithFinding()
      const findings = await fixture.withTimeout('check()', broker.admin.check())
      assert.notEqual(findings.length, 0, 'check() must return a finding for the broker of brokerWithFinding')
      expectFindings(findings)
    },
  }),
}

function expectFindings(findings: readonly Finding[]): void {
  assert.ok(Array.isArray(findings), 'check() must resolve to an array')
  for (const [index, { level, message, remedy }] of findings.entries()) {
    assert.ok(['note', 'warning', 'problem'].includes(level), `finding ${index}: level ${level}`)
    assert.ok(message.trim() !== '', `finding ${index} must have a message`)
    assert.ok(remedy === undefined || remedy.trim() !== '', `finding ${index} has an empty remedy`)
  }
}

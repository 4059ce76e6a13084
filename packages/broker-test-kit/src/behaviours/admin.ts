import assert from 'node:assert/strict'
import type { Finding, QueueStats } from '@zyqueue/core/broker'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { expectCode } from '../calls.ts'
import { messageTo, newConsumerId, numbered, queueSpec, type Stage } from '../stage.ts'

/** Waits until the queue's figures are these; one that the broker leaves out is not compared. */
async function expectStats(stage: Stage, queue: string, expected: Omit<QueueStats, 'name'>): Promise<void> {
  let seen: unknown
  const known = async (): Promise<boolean> => {
    const stats = (await stage.broker.admin.queues()).find(({ name }) => name === queue)
    seen = stats
    if (stats === undefined) return false
    const figures = Object.entries({ name: queue, ...expected })
    return figures.every(([key, value]) => !(key in stats) || Reflect.get(stats, key) === value)
  }
  await stage
    .eventually(`the figures of the queue`, known)
    .catch((error: unknown) => assert.deepEqual(seen, { name: queue, ...expected }, String(error)))
}

const whatIsToldOfWorkers = having(feature.workers, {
  'workers are listed while they are there, with who they are': async (stage) => {
    const { admin } = stage.broker
    assert.ok(admin.workers)
    const queues = [await stage.queue(), await stage.queue()]
    const client = { name: `${newConsumerId()}.1`, host: 'kit.example', pid: 4711 }
    const consumer = await stage.consumer(queues, { client, broker: await stage.connectedBroker(), prefetch: 1 })
    await stage.storeBodies(queueSpec(queues[0]?.name), 'held')
    const delivery = await stage.takeOne(consumer)
    const find = async () => (await admin.workers?.())?.find((worker) => worker.client.name === client.name)
    const worker = await stage.eventually('the worker is listed', async () => {
      const found = await find()
      return found?.active === 0 ? undefined : found
    })
    assert.deepEqual({ ...worker.client }, client)
    assert.deepEqual(worker.queues.toSorted(), queues.map(({ name }) => name).toSorted())
    assert.ok(worker.active === undefined || worker.active === 1, `${worker.active} in its hands`)
    assert.equal(typeof worker.id, 'string')
    if (worker.connectedAtMs !== undefined) {
      assert.ok(Math.abs(worker.connectedAtMs - Date.now()) < 3_600_000, 'connectedAtMs is in milliseconds since 1970')
    }
    await stage.ackAll(consumer, [delivery])
    await stage.settled('consumer.close()', consumer.close())
    await stage.eventually('the worker is gone', async () => (await find()) === undefined)
  },

  'a lost worker is listed no more': async (stage) => {
    const { admin } = stage.broker
    assert.ok(admin.workers)
    const queue = await stage.queue()
    const client = { name: `${newConsumerId()}.1`, host: 'kit.example', pid: 4712 }
    const owner = await stage.mortalOwner(queue, { client })
    await owner.die()
    await stage.eventually('the worker is gone', async () =>
      (await admin.workers?.())?.every((worker) => worker.client.name !== client.name),
    )
  },
})

export const admin: Behaviours = {
  'a declared queue is listed, with its figures': async (stage) => {
    const queue = await stage.queue()
    await expectStats(stage, queue.name, { ready: 0, delayed: 0, active: 0, dead: 0, workers: 0 })
    await stage.storeBodies(queue, ...numbered(5))
    await expectStats(stage, queue.name, { ready: 5, delayed: 0, active: 0, dead: 0, workers: 0 })
    const delayed = stage.capabilities.delay === 'none' ? 0 : 2
    for (let sent = 0; sent < delayed; sent++) await stage.store([messageTo(queue, { delayMs: 86_400_000 })])
    const consumer = await stage.consumer([queue], { prefetch: 3 })
    const [rejected, released, acked] = await stage.take(consumer, 3)
    assert.ok(rejected && released && acked)
    await expectStats(stage, queue.name, { ready: 2, delayed, active: 3, dead: 0, workers: 1 })
    const dead = stage.capabilities.deadLetter === 'none' ? 0 : 1
    await stage.reject(consumer, { delivery: rejected, reason: 'ZYQ_JOB_FAILED' })
    await stage.release(consumer, { delivery: released, delayMs: 0 })
    await stage.ackAll(consumer, [acked])
    await stage.settled('consumer.close()', consumer.close())
    await expectStats(stage, queue.name, { ready: 3, delayed, active: 0, dead, workers: 0 })
  },

  'figures are whole numbers, and each queue is listed once': async (stage) => {
    await stage.queue()
    const queues = await stage.settled('queues()', stage.broker.admin.queues())
    assert.equal(new Set(queues.map(({ name }) => name)).size, queues.length)
    for (const { name, details: _details, ...figures } of queues) {
      assert.equal(typeof name, 'string')
      for (const figure of Object.values(figures))
        assert.ok(Number.isInteger(figure) && figure >= 0, `${name}: ${figure}`)
    }
  },

  ...whatIsToldOfWorkers,

  'to purge deletes what is ready or delayed, and nothing else': async (stage) => {
    const queue = await stage.queue()
    const other = await stage.queue()
    await stage.storeBodies(other, 'other')
    await stage.storeBodies(queue, ...numbered(6))
    const consumer = await stage.consumer([queue], { prefetch: 2 })
    const held = await stage.take(consumer, 2)
    const delayed = stage.capabilities.delay === 'none' ? 0 : 2
    for (let sent = 0; sent < delayed; sent++) await stage.store([messageTo(queue, { delayMs: 86_400_000 })])
    assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 4 + delayed)
    assert.equal(await stage.settled('purge()', stage.broker.admin.purge(queue.name)), 0)
    await stage.ackAll(consumer, held)
    await stage.settled('consumer.close()', consumer.close())
    await stage.expectNoneReady(queue)
    assert.equal((await stage.remaining(other)).length, 1)
  },

  'a purged queue still works': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'gone')
    const consumer = await stage.consumer([queue], { prefetch: 1 })
    await stage.ackAll(consumer, [await stage.takeOne(consumer)])
    await stage.settled('purge()', stage.broker.admin.purge(queue.name))
    await stage.storeBodies(queue, 'new')
    await stage.ackAll(consumer, [await stage.takeOne(consumer)])
  },

  'to purge a queue that nobody declared rejects with ZYQ_QUEUE_NOT_FOUND': async (stage) => {
    const { broker } = stage
    const { name } = queueSpec()
    await stage.settled(
      'purge()',
      expectCode(broker, 'ZYQ_QUEUE_NOT_FOUND', () => broker.admin.purge(name)),
    )
  },

  'check tells its findings, and version is for people': async (stage) => {
    expectFindings(await stage.settled('check()', stage.broker.admin.check()))
    assert.ok((await stage.settled('version()', stage.broker.admin.version())).length > 0)
  },

  ...having(feature.brokerWithFinding, {
    'check tells of a setting that an operator should know': async (stage) => {
      const broker = await stage.brokerWithFinding()
      const findings = await stage.settled('check()', broker.admin.check())
      assert.notEqual(findings.length, 0, 'check() finds nothing, and the harness says that there is something')
      expectFindings(findings)
    },
  }),
}

function expectFindings(findings: readonly Finding[]): void {
  assert.ok(Array.isArray(findings), 'check() resolves to an array')
  for (const [index, { level, message, remedy }] of findings.entries()) {
    assert.ok(['note', 'warning', 'problem'].includes(level), `finding ${index}: level ${level}`)
    assert.ok(message.trim() !== '', `finding ${index}: it has a message`)
    assert.ok(remedy === undefined || remedy.trim() !== '', `finding ${index}: an empty remedy`)
  }
}

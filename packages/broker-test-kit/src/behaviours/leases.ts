import assert from 'node:assert/strict'
import type { Broker, Consumer, Delivery, LostDelivery, QueueSpec } from '@zyqueue/core/broker'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import {
  bytesOf,
  longLeaseMs,
  messageTo,
  newConsumerId,
  numbered,
  textOf,
  type MortalOwner,
  type Stage,
} from '../stage.ts'
import { settleBy } from './settle.ts'
import { reclaimOf } from '../reclaim.ts'

/** What a lost owner's job counts when it comes again. */
export function oneLoss(stage: Stage): number {
  return stage.capabilities.deliveryCount === 'none' ? 0 : 1
}

/** A late settlement may answer or reject, but it may not say that it was done. */
async function expectFenced(stage: Stage, way: 'ack' | 'release' | 'reject', late: Consumer, delivery: Delivery) {
  const outcome = await stage.settled(
    `the late ${way}`,
    outcomeOf(() => settleBy(way, late, [delivery])),
  )
  if (stage.broker.leases.kind === 'renewable') assert.deepEqual(outcome, { value: [{ status: 'lease-lost' }] })
  else if ('value' in outcome) assert.notEqual(outcome.value[0]?.status, 'ok', 'a late settlement must not be ok')
}

/** A job whose first owner is lost, in the hands of a second one. */
async function jobTakenOver(stage: Stage) {
  const queue = await stage.queue()
  await stage.storeBodies(queue, 'job')
  const owner = await stage.mortalOwner(queue)
  const stale = await stage.takeOne(owner.consumer)
  await owner.die()
  const heir = await stage.consumer([queue])
  return { queue, owner, stale, heir, delivery: await stage.takeOne(heir) }
}

const renewing = having(feature.renewableLeases, {
  'a lease that nobody renews runs out by itself': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const owner = await stage.consumer([queue], { broker: await stage.connectedBroker(), leaseMs: stage.leaseMs })
    // On a slow machine the lease may be over before: then the job is the heir's all the more.
    await outcomeOf(() => stage.take(owner, 1))
    const heir = await stage.consumer([queue])
    assert.equal(textOf(await stage.takeOne(heir)), 'job')
  },

  'to renew extends the lease of all jobs to so many milliseconds from then': (stage) =>
    keepingUp(stage, async ({ queue, owner, deliveries, leaseMs, renew }) => {
      await renew(owner.broker, longLeaseMs)
      await stage.pass(1.5 * leaseMs)
      await stage.expectNoneReady(queue)
      await stage.ackAll(owner.consumer, deliveries)
    }),

  'to renew tells which leases have ended, and revives none': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const owner = await stage.mortalOwner(queue)
    const stale = await stage.takeOne(owner.consumer)
    await owner.die()
    const livingId = newConsumerId()
    const living = await stage.consumer([queue], { consumerId: livingId })
    const delivery = await stage.takeOne(living)
    const unknownId = newConsumerId()
    const ended = await renewed(stage, stage.broker, [owner.consumerId, livingId, unknownId], 60_000)
    assert.deepEqual(ended.toSorted(), [owner.consumerId, unknownId].toSorted())
    assert.deepEqual(await renewed(stage, stage.broker, [], 60_000), [])
    await expectFenced(stage, 'ack', owner.consumer, stale)
    await stage.ackAll(living, [delivery])
  },

  'a consumer whose lease has ended receives no more: ZYQ_LEASE_LOST': async (stage) => {
    const queue = await stage.queue()
    const owner = await stage.mortalOwner(queue)
    await stage.eventually('the lease has ended', async () => {
      const ended = await renewed(stage, stage.broker, [owner.consumerId], stage.leaseMs)
      if (ended.includes(owner.consumerId)) return true
      await stage.pass(1.5 * stage.leaseMs)
      return false
    })
    await stage.storeBodies(queue, 'job')
    const outcome = await stage.settled(
      'receive()',
      outcomeOf(() => owner.consumer.receive(1, { signal: new AbortController().signal })),
    )
    assert.ok('error' in outcome, 'without a lease, receive must reject')
    assert.equal(codeOf(owner.broker, outcome.error), 'ZYQ_LEASE_LOST')
    await stage.settled('consumer.close()', owner.consumer.close())
    assert.deepEqual((await stage.remaining(queue)).map(textOf), ['job'])
  },
})

const reclaiming = having(feature.reclaim, {
  'to reclaim gives all back at once, and charges only the charged': async (stage) => {
    const scene = await reclaimed(stage, ([first]) => [{ id: first.id }])
    const counts = scene.again.map((delivery) => [textOf(delivery), delivery.deliveryCount])
    assert.deepEqual(counts, [
      ['0', oneLoss(stage)],
      ['1', 0],
      ['2', 0],
    ])
    await stage.ackAll(scene.heir, scene.again)
  },

  'to reclaim puts the headers of a charge over those of the job': async (stage) => {
    const scene = await reclaimed(stage, ([first, second]) => [
      { id: second.id, headers: { 'x-died': 'ü', 'x-note': 'new' } },
      { id: first.id, headers: {} },
    ])
    const headers = scene.again.map((delivery) => ({ ...delivery.headers }))
    assert.deepEqual(headers, [
      { 'x-note': '0', 'x-kept': 'yes' },
      { 'x-note': 'new', 'x-kept': 'yes', 'x-died': 'ü' },
      { 'x-note': '2', 'x-kept': 'yes' },
    ])
    assert.deepEqual(
      scene.again.map((delivery) => delivery.deliveryCount),
      [oneLoss(stage), oneLoss(stage), 0],
    )
  },

  'whom a job was reclaimed from is fenced': async (stage) => {
    const scene = await reclaimed(stage, () => [])
    const [ack, release, reject] = scene.stale
    assert.ok(ack && release && reject)
    await expectFenced(stage, 'ack', scene.late, ack)
    await expectFenced(stage, 'release', scene.late, release)
    await expectFenced(stage, 'reject', scene.late, reject)
    await stage.ackAll(scene.heir, scene.again)
    await stage.expectNoneReady(scene.queue)
  },

  // If leases are connections, nothing ends, and a charge is one, whenever it comes.
  ...having(feature.renewableLeases, {
    'to reclaim again, or from nobody, changes nothing': async (stage) => {
      const scene = await reclaimed(stage, () => [])
      const lost = scene.again.map((delivery) => ({ id: delivery.id }))
      for (const id of [scene.lateId, newConsumerId()]) {
        await stage.settled('reclaim()', Promise.resolve(reclaimOf(stage.broker.leases)?.(id, lost)))
      }
      await stage.settled('release()', scene.heir.release(scene.again.map((delivery) => ({ delivery, delayMs: 0 }))))
      const found = await stage.take(scene.heir, 3)
      assert.deepEqual(
        found.map((delivery) => delivery.deliveryCount),
        [0, 0, 0],
      )
    },
  }),
})

export const leases: Behaviours = {
  'the job of a lost owner goes to another, whole, and counts one delivery more': async (stage) => {
    const queue = await stage.queue()
    const sent = messageTo(queue, { body: bytesOf('job'), headers: { 'x-note': 'ü' }, priority: 6 })
    await stage.store([sent])
    const owner = await stage.mortalOwner(queue)
    const first = await stage.takeOne(owner.consumer)
    await owner.die()
    const heir = await stage.consumer([queue])
    const again = await stage.takeOne(heir)
    assert.equal(again.id, sent.id)
    assert.equal(textOf(again), 'job')
    assert.deepEqual({ ...again.headers }, { 'x-note': 'ü' })
    assert.equal(again.priority, first.priority)
    assert.equal(first.deliveryCount, 0)
    assert.equal(again.deliveryCount, oneLoss(stage))
    await stage.ackAll(heir, [again])
    await stage.expectNoneReady(queue, heir)
  },

  'a receive that waits gets the job of an owner that is lost meanwhile': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const owner = await stage.mortalOwner(queue)
    await stage.takeOne(owner.consumer)
    const heir = await stage.consumer([queue])
    const taking = stage.later(stage.takeOne(heir))
    await owner.die()
    assert.equal(textOf(await taking), 'job')
  },

  'what a lost owner had settled stays settled': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'acked', 'held', 'held too')
    const owner = await stage.mortalOwner(queue)
    const [acked] = await stage.take(owner.consumer, 3)
    assert.ok(acked)
    await stage.ackAll(owner.consumer, [acked])
    await owner.die()
    const heir = await stage.consumer([queue])
    const again = await stage.take(heir, 2)
    assert.deepEqual(again.map(textOf).toSorted(), ['held', 'held too'])
    await stage.ackAll(heir, again)
    await stage.expectNoneReady(queue, heir)
  },

  'a late ack is fenced: the new owner keeps the job': async (stage) => {
    const { queue, owner, stale, heir, delivery } = await jobTakenOver(stage)
    await expectFenced(stage, 'ack', owner.consumer, stale)
    await stage.release(heir, { delivery, delayMs: 0 })
    await stage.settled('consumer.close()', heir.close())
    assert.deepEqual((await stage.remaining(queue)).map(textOf), ['job'])
  },

  'a late release is fenced: nobody else gets the job': async (stage) => {
    const { queue, owner, stale, heir, delivery } = await jobTakenOver(stage)
    await expectFenced(stage, 'release', owner.consumer, stale)
    await stage.expectNoneReady(queue)
    await stage.ackAll(heir, [delivery])
  },

  'a late reject is fenced: the job does not die': async (stage) => {
    const { queue, owner, stale, heir, delivery } = await jobTakenOver(stage)
    await expectFenced(stage, 'reject', owner.consumer, stale)
    const { deadLetters } = stage.broker.admin
    assert.deepEqual(await stage.settled('deadLetters.list()', deadLetters.list(queue.name, { limit: 10 })), [])
    await stage.ackAll(heir, [delivery])
  },

  'a late ack is fenced although nobody has the job yet': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const owner = await stage.mortalOwner(queue)
    const stale = await stage.takeOne(owner.consumer)
    await owner.die()
    await untilReady(stage, queue.name, owner.consumerId)
    await expectFenced(stage, 'ack', owner.consumer, stale)
    const heir = await stage.consumer([queue])
    assert.equal(textOf(await stage.takeOne(heir)), 'job')
  },

  'a late settlement is fenced after the new owner has acknowledged': async (stage) => {
    const { queue, owner, stale, heir, delivery } = await jobTakenOver(stage)
    await stage.ackAll(heir, [delivery])
    await expectFenced(stage, 'release', owner.consumer, stale)
    await stage.expectNoneReady(queue)
  },

  'an owner keeps all of its jobs while its lease lasts': (stage) =>
    keepingUp(stage, async ({ queue, owner, deliveries, leaseMs, renew }) => {
      const supervisor = await stage.connectedBroker()
      for (let quarter = 0; quarter < 8; quarter++) {
        await renew(supervisor, leaseMs)
        await stage.pass(leaseMs / 4)
      }
      await renew(supervisor, longLeaseMs)
      await stage.expectNoneReady(queue)
      await stage.ackAll(owner.consumer, deliveries)
      await stage.expectNoneReady(queue)
    }),

  ...renewing,
  ...reclaiming,
}

/** Renews as a supervisor does; a broker whose lease is its connection needs nobody to. */
async function renewed(
  stage: Stage,
  broker: Broker,
  consumerIds: readonly string[],
  leaseMs: number,
): Promise<readonly string[]> {
  const { leases } = broker
  return leases.kind === 'renewable' ? stage.settled('renew()', leases.renew(consumerIds, leaseMs)) : []
}

/** How much longer than the short lease one may become. */
const MOST_STRETCH = 10

/** An owner with several jobs and a short lease. */
interface Kept {
  readonly queue: QueueSpec
  readonly owner: MortalOwner
  readonly deliveries: readonly Delivery[]
  readonly leaseMs: number
  renew(broker: Broker, leaseMs: number): Promise<void>
}

/**
 * Runs what keeps a short lease alive by renewals. Where it fails and a renewal came later than the lease is long, the lease has
 * ended by right: it runs anew with a longer one.
 */
async function keepingUp(stage: Stage, body: (kept: Kept) => Promise<void>): Promise<void> {
  for (let leaseMs = stage.leaseMs; ; leaseMs *= 4) {
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...numbered(3))
    let late = false
    let [since, termMs] = [performance.now(), leaseMs]
    const look = (): void => {
      late ||= performance.now() - since >= termMs
    }
    try {
      const owner = await stage.mortalOwner(queue, { leaseMs })
      const deliveries = await stage.take(owner.consumer, 3)
      const renew = async (broker: Broker, nextMs: number): Promise<void> => {
        const sentAt = performance.now()
        assert.deepEqual(await renewed(stage, broker, [owner.consumerId], nextMs).finally(look), [])
        ;[since, termMs] = [sentAt, nextMs]
      }
      return await body({ queue, owner, deliveries, leaseMs, renew })
    } catch (error) {
      look()
      if (!late || leaseMs > MOST_STRETCH * stage.leaseMs) throw error
    }
  }
}

/** Until the broker itself says that the owner is gone, without taking the job. */
async function untilReady(stage: Stage, queue: string, ownerId: string): Promise<void> {
  const { leases } = stage.broker
  if (leases.kind === 'renewable') {
    await stage.pass(1.5 * stage.leaseMs)
    await stage.eventually('the lease has ended', async () => (await leases.renew([ownerId], 1)).includes(ownerId))
    return
  }
  await stage.eventually('the job is ready again', async () => {
    const stats = (await stage.broker.admin.queues()).find(({ name }) => name === queue)
    return stats?.ready === undefined || stats.ready === 1
  })
}

/** Three jobs, reclaimed from their owner by another broker and taken by an heir. */
async function reclaimed(
  stage: Stage,
  lostOf: (stale: readonly [Delivery, Delivery, Delivery]) => readonly LostDelivery[],
) {
  const reclaim = reclaimOf(stage.broker.leases)
  assert.ok(reclaim !== undefined)
  const queue = await stage.queue()
  await stage.store(
    numbered(3).map((body) => messageTo(queue, { body: bytesOf(body), headers: { 'x-note': body, 'x-kept': 'yes' } })),
  )
  const lateId = newConsumerId()
  const broker = await stage.connectedBroker()
  const late = await stage.consumer([queue], { consumerId: lateId, broker })
  const stale = await stage.take(late, 3)
  const [first, second, third] = stale
  assert.ok(first && second && third)
  if (stage.broker.leases.kind !== 'renewable') await stage.cut(broker)
  await stage.settled('reclaim()', reclaim(lateId, lostOf([first, second, third])))
  const heir = await stage.consumer([queue])
  const again = (await stage.take(heir, 3)).toSorted((a, b) => Number(textOf(a)) - Number(textOf(b)))
  return { queue, late, lateId, stale, heir, again }
}

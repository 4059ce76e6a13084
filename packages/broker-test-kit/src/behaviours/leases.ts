import assert from 'node:assert/strict'
import type { Broker, Consumer, Delivery, LostDelivery, QueueSpec } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { codeOf, outcomeOf } from '../calls.ts'
import type { LosableOwner, Fixture } from '../fixture.ts'
import { bytesOf, longLeaseMs, messageTo, newConsumerId, numericBodies, textOf } from '../test-data.ts'
import { settleWith } from './settle.ts'
import { reclaimOf } from '../reclaim.ts'

/** The delivery count of a job after one owner was lost. */
export function oneLoss(fixture: Fixture): number {
  return fixture.capabilities.deliveryCount === 'none' ? 0 : 1
}

/** A late settlement may resolve or reject, but its result must not be `ok`. */
async function expectLeaseLost(
  fixture: Fixture,
  method: 'ack' | 'release' | 'reject',
  late: Consumer,
  delivery: Delivery,
) {
  const outcome = await fixture.withTimeout(
    `the late ${method}`,
    outcomeOf(() => settleWith(method, late, [delivery])),
  )
  if (fixture.broker.leases.kind === 'renewable') assert.deepEqual(outcome, { value: [{ status: 'lease-lost' }] })
  else if ('value' in outcome) assert.notEqual(outcome.value[0]?.status, 'ok', 'a late settlement must not be ok')
}

/** A job that a second owner holds after the first was lost. */
async function takeOver(fixture: Fixture) {
  const queue = await fixture.queue()
  await fixture.storeBodies(queue, 'job')
  const owner = await fixture.ownerToLose(queue)
  const stale = await fixture.takeOne(owner.consumer)
  await owner.lose()
  const newOwner = await fixture.consumer([queue])
  return { queue, owner, stale, newOwner, delivery: await fixture.takeOne(newOwner) }
}

const renewals = ifPresent(feature.renewableLeases, {
  'a lease that is not renewed ends': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'job')
    const owner = await fixture.consumer([queue], { broker: await fixture.connectedBroker(), leaseMs: fixture.leaseMs })
    // On a slow machine the lease may end before this. The new owner then gets the job anyway.
    await outcomeOf(() => fixture.take(owner, 1))
    const newOwner = await fixture.consumer([queue])
    assert.equal(textOf(await fixture.takeOne(newOwner)), 'job')
  },

  'renew sets the lease of all jobs to end leaseMs from now': (fixture) =>
    withShortLease(fixture, async ({ queue, owner, deliveries, leaseMs, renew }) => {
      await renew(owner.broker, longLeaseMs)
      await fixture.sleep(1.5 * leaseMs)
      await fixture.expectNoneReady(queue)
      await fixture.ackAll(owner.consumer, deliveries)
    }),

  'renew returns the ended leases and revives none': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'job')
    const owner = await fixture.ownerToLose(queue)
    const stale = await fixture.takeOne(owner.consumer)
    await owner.lose()
    const livingId = newConsumerId()
    const living = await fixture.consumer([queue], { consumerId: livingId })
    const delivery = await fixture.takeOne(living)
    const unknownId = newConsumerId()
    const ended = await renewLeases(fixture, fixture.broker, [owner.consumerId, livingId, unknownId], 60_000)
    assert.deepEqual(ended.toSorted(), [owner.consumerId, unknownId].toSorted())
    assert.deepEqual(await renewLeases(fixture, fixture.broker, [], 60_000), [])
    await expectLeaseLost(fixture, 'ack', owner.consumer, stale)
    await fixture.ackAll(living, [delivery])
  },

  'receive after the lease has ended rejects with ZYQ_LEASE_LOST': async (fixture) => {
    const queue = await fixture.queue()
    const owner = await fixture.ownerToLose(queue)
    await fixture.eventually('the lease has ended', async () => {
      const ended = await renewLeases(fixture, fixture.broker, [owner.consumerId], fixture.leaseMs)
      if (ended.includes(owner.consumerId)) return true
      await fixture.sleep(1.5 * fixture.leaseMs)
      return false
    })
    await fixture.storeBodies(queue, 'job')
    const outcome = await fixture.withTimeout(
      'receive()',
      outcomeOf(() => owner.consumer.receive(1, { signal: new AbortController().signal })),
    )
    assert.ok('error' in outcome, 'receive() without a lease must reject')
    assert.equal(codeOf(owner.broker, outcome.error), 'ZYQ_LEASE_LOST')
    await fixture.withTimeout('consumer.close()', owner.consumer.close())
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['job'])
  },
})

const reclaims = ifPresent(feature.reclaim, {
  'reclaim makes all jobs ready at once and counts only the listed losses': async (fixture) => {
    const scenario = await reclaimJobs(fixture, ([first]) => [{ id: first.id }])
    const counts = scenario.again.map((delivery) => [textOf(delivery), delivery.deliveryCount])
    assert.deepEqual(counts, [
      ['0', oneLoss(fixture)],
      ['1', 0],
      ['2', 0],
    ])
    await fixture.ackAll(scenario.newOwner, scenario.again)
  },

  'reclaim merges the headers of a lost delivery into those of the job': async (fixture) => {
    const scenario = await reclaimJobs(fixture, ([first, second]) => [
      { id: second.id, headers: { 'x-died': 'ü', 'x-note': 'new' } },
      { id: first.id, headers: {} },
    ])
    const headers = scenario.again.map((delivery) => ({ ...delivery.headers }))
    assert.deepEqual(headers, [
      { 'x-note': '0', 'x-kept': 'yes' },
      { 'x-note': 'new', 'x-kept': 'yes', 'x-died': 'ü' },
      { 'x-note': '2', 'x-kept': 'yes' },
    ])
    assert.deepEqual(
      scenario.again.map((delivery) => delivery.deliveryCount),
      [oneLoss(fixture), oneLoss(fixture), 0],
    )
  },

  'settling a reclaimed job does not take it from the new owner': async (fixture) => {
    const scenario = await reclaimJobs(fixture, () => [])
    const [ack, release, reject] = scenario.stale
    assert.ok(ack && release && reject)
    await expectLeaseLost(fixture, 'ack', scenario.late, ack)
    await expectLeaseLost(fixture, 'release', scenario.late, release)
    await expectLeaseLost(fixture, 'reject', scenario.late, reject)
    await fixture.ackAll(scenario.newOwner, scenario.again)
    await fixture.expectNoneReady(scenario.queue)
  },

  // With connection leases, reclaim ends no lease and counts a loss whenever it is called.
  ...ifPresent(feature.renewableLeases, {
    'reclaim of an ended or unknown consumer changes nothing': async (fixture) => {
      const scenario = await reclaimJobs(fixture, () => [])
      const lost = scenario.again.map((delivery) => ({ id: delivery.id }))
      for (const id of [scenario.lateId, newConsumerId()]) {
        await fixture.withTimeout('reclaim()', Promise.resolve(reclaimOf(fixture.broker.leases)?.(id, lost)))
      }
      await fixture.withTimeout(
        'release()',
        scenario.newOwner.release(scenario.again.map((delivery) => ({ delivery, delayMs: 0 }))),
      )
      const found = await fixture.take(scenario.newOwner, 3)
      assert.deepEqual(
        found.map((delivery) => delivery.deliveryCount),
        [0, 0, 0],
      )
    },
  }),
})

export const leases: Behaviours = {
  'the job of a lost owner goes to another, unchanged, and counts one lost delivery': async (fixture) => {
    const queue = await fixture.queue()
    const sent = messageTo(queue, { body: bytesOf('job'), headers: { 'x-note': 'ü' }, priority: 6 })
    await fixture.store([sent])
    const owner = await fixture.ownerToLose(queue)
    const first = await fixture.takeOne(owner.consumer)
    await owner.lose()
    const newOwner = await fixture.consumer([queue])
    const again = await fixture.takeOne(newOwner)
    assert.equal(again.id, sent.id)
    assert.equal(textOf(again), 'job')
    assert.deepEqual({ ...again.headers }, { 'x-note': 'ü' })
    assert.equal(again.priority, first.priority)
    assert.equal(first.deliveryCount, 0)
    assert.equal(again.deliveryCount, oneLoss(fixture))
    await fixture.ackAll(newOwner, [again])
    await fixture.expectNoneReady(queue, newOwner)
  },

  'a waiting receive gets the job of an owner that is lost meanwhile': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'job')
    const owner = await fixture.ownerToLose(queue)
    await fixture.takeOne(owner.consumer)
    const newOwner = await fixture.consumer([queue])
    const taking = fixture.inBackground(fixture.takeOne(newOwner))
    await owner.lose()
    assert.equal(textOf(await taking), 'job')
  },

  'jobs that a lost owner settled stay settled': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'acked', 'held', 'held too')
    const owner = await fixture.ownerToLose(queue)
    const [acked] = await fixture.take(owner.consumer, 3)
    assert.ok(acked)
    await fixture.ackAll(owner.consumer, [acked])
    await owner.lose()
    const newOwner = await fixture.consumer([queue])
    const again = await fixture.take(newOwner, 2)
    assert.deepEqual(again.map(textOf).toSorted(), ['held', 'held too'])
    await fixture.ackAll(newOwner, again)
    await fixture.expectNoneReady(queue, newOwner)
  },

  'an ack after the lease was lost does not take the job from the new owner': async (fixture) => {
    const { queue, owner, stale, newOwner, delivery } = await takeOver(fixture)
    await expectLeaseLost(fixture, 'ack', owner.consumer, stale)
    await fixture.release(newOwner, { delivery, delayMs: 0 })
    await fixture.withTimeout('consumer.close()', newOwner.close())
    assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['job'])
  },

  'a release after the lease was lost does not make the job ready': async (fixture) => {
    const { queue, owner, stale, newOwner, delivery } = await takeOver(fixture)
    await expectLeaseLost(fixture, 'release', owner.consumer, stale)
    await fixture.expectNoneReady(queue)
    await fixture.ackAll(newOwner, [delivery])
  },

  'a reject after the lease was lost makes no dead letter': async (fixture) => {
    const { queue, owner, stale, newOwner, delivery } = await takeOver(fixture)
    await expectLeaseLost(fixture, 'reject', owner.consumer, stale)
    const { deadLetters } = fixture.broker.admin
    assert.deepEqual(await fixture.withTimeout('deadLetters.list()', deadLetters.list(queue.name, { limit: 10 })), [])
    await fixture.ackAll(newOwner, [delivery])
  },

  'an ack after the lease was lost has no effect before the job has a new owner': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'job')
    const owner = await fixture.ownerToLose(queue)
    const stale = await fixture.takeOne(owner.consumer)
    await owner.lose()
    await untilReady(fixture, queue.name, owner.consumerId)
    await expectLeaseLost(fixture, 'ack', owner.consumer, stale)
    const newOwner = await fixture.consumer([queue])
    assert.equal(textOf(await fixture.takeOne(newOwner)), 'job')
  },

  'a release after the new owner has acked does not bring the job back': async (fixture) => {
    const { queue, owner, stale, newOwner, delivery } = await takeOver(fixture)
    await fixture.ackAll(newOwner, [delivery])
    await expectLeaseLost(fixture, 'release', owner.consumer, stale)
    await fixture.expectNoneReady(queue)
  },

  'an owner keeps all its jobs while its lease is renewed': (fixture) =>
    withShortLease(fixture, async ({ queue, owner, deliveries, leaseMs, renew }) => {
      const supervisor = await fixture.connectedBroker()
      for (let quarter = 0; quarter < 8; quarter++) {
        await renew(supervisor, leaseMs)
        await fixture.sleep(leaseMs / 4)
      }
      await renew(supervisor, longLeaseMs)
      await fixture.expectNoneReady(queue)
      await fixture.ackAll(owner.consumer, deliveries)
      await fixture.expectNoneReady(queue)
    }),

  ...renewals,
  ...reclaims,
}

/** Renews leases as a supervisor does. Does nothing if the leases are not renewable. */
async function renewLeases(
  fixture: Fixture,
  broker: Broker,
  consumerIds: readonly string[],
  leaseMs: number,
): Promise<readonly string[]> {
  const { leases } = broker
  return leases.kind === 'renewable' ? fixture.withTimeout('renew()', leases.renew(consumerIds, leaseMs)) : []
}

/** The longest lease that `withShortLease` tries, as a multiple of the short one. */
const MAX_STRETCH = 10

/** An owner that holds three jobs with a short lease. */
interface ShortLease {
  readonly queue: QueueSpec
  readonly owner: LosableOwner
  readonly deliveries: readonly Delivery[]
  readonly leaseMs: number
  renew(broker: Broker, leaseMs: number): Promise<void>
}

/**
 * Runs a test that keeps a short lease alive with renewals. If the test fails and a renewal came after the end of the lease, the
 * machine was too slow: it repeats the test with a longer lease.
 */
async function withShortLease(fixture: Fixture, body: (kept: ShortLease) => Promise<void>): Promise<void> {
  for (let leaseMs = fixture.leaseMs; ; leaseMs *= 4) {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, ...numericBodies(3))
    let late = false
    let [since, termMs] = [performance.now(), leaseMs]
    const checkLateness = (): void => {
      late ||= performance.now() - since >= termMs
    }
    try {
      const owner = await fixture.ownerToLose(queue, { leaseMs })
      const deliveries = await fixture.take(owner.consumer, 3)
      const renew = async (broker: Broker, nextMs: number): Promise<void> => {
        const sentAt = performance.now()
        assert.deepEqual(await renewLeases(fixture, broker, [owner.consumerId], nextMs).finally(checkLateness), [])
        ;[since, termMs] = [sentAt, nextMs]
      }
      return await body({ queue, owner, deliveries, leaseMs, renew })
    } catch (error) {
      checkLateness()
      if (!late || leaseMs > MAX_STRETCH * fixture.leaseMs) throw error
    }
  }
}

/** Waits until the broker reports that the owner is lost, without receiving the job. */
async function untilReady(fixture: Fixture, queue: string, ownerId: string): Promise<void> {
  const { leases } = fixture.broker
  if (leases.kind === 'renewable') {
    await fixture.sleep(1.5 * fixture.leaseMs)
    await fixture.eventually('the lease has ended', async () => (await leases.renew([ownerId], 1)).includes(ownerId))
    return
  }
  await fixture.eventually('the job is ready again', async () => {
    const [stats] = await fixture.broker.admin.queues([queue])
    return stats?.ready === undefined || stats.ready === 1
  })
}

/** Three jobs that another broker has reclaimed and a new owner has received. */
async function reclaimJobs(
  fixture: Fixture,
  lostOf: (stale: readonly [Delivery, Delivery, Delivery]) => readonly LostDelivery[],
) {
  const reclaim = reclaimOf(fixture.broker.leases)
  assert.ok(reclaim !== undefined)
  const queue = await fixture.queue()
  await fixture.store(
    numericBodies(3).map((body) =>
      messageTo(queue, { body: bytesOf(body), headers: { 'x-note': body, 'x-kept': 'yes' } }),
    ),
  )
  const lateId = newConsumerId()
  const broker = await fixture.connectedBroker()
  const late = await fixture.consumer([queue], { consumerId: lateId, broker })
  const stale = await fixture.take(late, 3)
  const [first, second, third] = stale
  assert.ok(first && second && third)
  if (fixture.broker.leases.kind !== 'renewable') await fixture.cut(broker)
  await fixture.withTimeout('reclaim()', reclaim(lateId, lostOf([first, second, third])))
  const newOwner = await fixture.consumer([queue])
  const again = (await fixture.take(newOwner, 3)).toSorted((a, b) => Number(textOf(a)) - Number(textOf(b)))
  return { queue, late, lateId, stale, newOwner, again }
}

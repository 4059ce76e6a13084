import assert from 'node:assert/strict'
import { feature, ifPresent, ifAbsent, type Behaviours } from '../behaviour.ts'
import type { Fixture } from '../fixture.ts'

const withDeliveryCounts = ifPresent(feature.deliveryCounts, {
  'each lost owner counts once': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'poison')
    for (let losses = 0; losses < 3; losses++) {
      const owner = await fixture.ownerToLose(queue)
      const delivery = await fixture.eventually('the delivery', async () => {
        const [delivery] = await owner.consumer.receive(1, { signal: new AbortController().signal })
        return delivery
      })
      assert.equal(delivery.deliveryCount, losses)
      await owner.lose()
      await untilLost(fixture, owner.consumerId)
    }
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    assert.equal(delivery.deliveryCount, 3)
    await fixture.ackAll(consumer, [delivery])
  },

  'a release keeps the delivery count': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'job')
    const owner = await fixture.ownerToLose(queue)
    await fixture.takeOne(owner.consumer)
    await owner.lose()
    const { consumer, delivery } = await fixture.takeOneOf(queue)
    assert.equal(delivery.deliveryCount, 1)
    await fixture.release(consumer, { delivery, delayMs: 0, headers: { 'x-note': 'new' } })
    const again = await fixture.takeOne(consumer)
    assert.equal(again.deliveryCount, 1)
    await fixture.ackAll(consumer, [again])
  },

  'a job that was not delivered to the lost owner counts no lost delivery': async (fixture) => {
    const queue = await fixture.queue()
    await fixture.storeBodies(queue, 'one', 'other')
    const owner = await fixture.ownerToLose(queue, { prefetch: 1 })
    const taken = await fixture.takeOne(owner.consumer)
    await owner.lose()
    const newOwner = await fixture.consumer([queue])
    const again = await fixture.take(newOwner, 2)
    for (const delivery of again) {
      assert.equal(delivery.deliveryCount, delivery.id === taken.id ? 1 : 0)
    }
    await fixture.ackAll(newOwner, again)
  },
})

export const deliveryCounts: Behaviours = {
  ...withDeliveryCounts,
  ...ifAbsent(feature.deliveryCounts, {
    'the job of a lost owner arrives again with delivery count 0': async (fixture) => {
      const queue = await fixture.queue()
      await fixture.storeBodies(queue, 'job')
      const owner = await fixture.ownerToLose(queue)
      await fixture.takeOne(owner.consumer)
      await owner.lose()
      const { consumer, delivery } = await fixture.takeOneOf(queue)
      assert.equal(delivery.deliveryCount, 0)
      await fixture.ackAll(consumer, [delivery])
    },
  }),
}

/** Waits until the lease has ended. Otherwise the short lease of the next owner could end while it waits for the job. */
async function untilLost(fixture: Fixture, ownerId: string): Promise<void> {
  const { leases } = fixture.broker
  if (leases.kind !== 'renewable') return
  await fixture.sleep(1.2 * fixture.leaseMs)
  await fixture.eventually('the lease has ended', async () => (await leases.renew([ownerId], 1)).includes(ownerId))
}

import assert from 'node:assert/strict'
import { feature, having, lacking, type Behaviours } from '../behaviour.ts'
import type { Stage } from '../stage.ts'

const whereTheyAreCounted = having(feature.deliveryCounts, {
  'each owner that is lost counts, and is counted once': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'poison')
    for (let losses = 0; losses < 3; losses++) {
      const owner = await stage.mortalOwner(queue)
      const delivery = await stage.eventually('the delivery', async () => {
        const [delivery] = await owner.consumer.receive(1, { signal: new AbortController().signal })
        return delivery
      })
      assert.equal(delivery.deliveryCount, losses)
      await owner.die()
      await untilLost(stage, owner.consumerId)
    }
    const { consumer, delivery } = await stage.takeOneOf(queue)
    assert.equal(delivery.deliveryCount, 3)
    await stage.ackAll(consumer, [delivery])
  },

  'a release keeps the count that was there': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'job')
    const owner = await stage.mortalOwner(queue)
    await stage.takeOne(owner.consumer)
    await owner.die()
    const { consumer, delivery } = await stage.takeOneOf(queue)
    assert.equal(delivery.deliveryCount, 1)
    await stage.release(consumer, { delivery, delayMs: 0, headers: { 'x-note': 'new' } })
    const again = await stage.takeOne(consumer)
    assert.equal(again.deliveryCount, 1)
    await stage.ackAll(consumer, [again])
  },

  'a job that its owner had not taken counts nothing when the owner is lost': async (stage) => {
    const queue = await stage.queue()
    await stage.storeBodies(queue, 'one', 'other')
    const owner = await stage.mortalOwner(queue, { prefetch: 1 })
    const taken = await stage.takeOne(owner.consumer)
    await owner.die()
    const heir = await stage.consumer([queue])
    const again = await stage.take(heir, 2)
    for (const delivery of again) {
      assert.equal(delivery.deliveryCount, delivery.id === taken.id ? 1 : 0)
    }
    await stage.ackAll(heir, again)
  },
})

export const deliveryCounts: Behaviours = {
  ...whereTheyAreCounted,
  ...lacking(feature.deliveryCounts, {
    'the job of a lost owner comes again with delivery count 0': async (stage) => {
      const queue = await stage.queue()
      await stage.storeBodies(queue, 'job')
      const owner = await stage.mortalOwner(queue)
      await stage.takeOne(owner.consumer)
      await owner.die()
      const { consumer, delivery } = await stage.takeOneOf(queue)
      assert.equal(delivery.deliveryCount, 0)
      await stage.ackAll(consumer, [delivery])
    },
  }),
}

/** A lease has to have run out before the next owner comes, or that one's would, while it waits. */
async function untilLost(stage: Stage, ownerId: string): Promise<void> {
  const { leases } = stage.broker
  if (leases.kind !== 'renewable') return
  await stage.pass(1.2 * stage.leaseMs)
  await stage.eventually('the lease has ended', async () => (await leases.renew([ownerId], 1)).includes(ownerId))
}

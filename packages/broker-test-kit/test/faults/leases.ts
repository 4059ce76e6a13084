import type { Consumer, Delivery, SettleResult } from '@zyqueue/core/broker'
import { alterBroker, alterConsumers, alterDeliveries, alterLeases } from '../alter.ts'
import { changingDeliveries, type Breaks, type Faults } from './fault.ts'

/** Settles a job for the old owner although a new owner holds it. */
const settlesForLostOwners: Breaks = () => {
  const holders = new Map<string, { readonly consumer: Consumer; readonly delivery: Delivery }>()
  const settleForHolder = async (
    deliveries: readonly Delivery[],
    results: readonly SettleResult[],
    settle: (holder: Consumer, held: Delivery) => Promise<unknown>,
  ): Promise<readonly SettleResult[]> => {
    for (const [index, delivery] of deliveries.entries()) {
      const holder = holders.get(delivery.id)
      if (results[index]?.status === 'lease-lost' && holder) await settle(holder.consumer, holder.delivery)
    }
    return results.map(() => ({ status: 'ok' }))
  }
  return (broker) =>
    alterConsumers(broker, (consumer) => {
      return {
        async receive(max, options) {
          const deliveries = await consumer.receive(max, options)
          for (const delivery of deliveries) holders.set(delivery.id, { consumer, delivery })
          return deliveries
        },
        ack: async (all) => settleForHolder(all, await consumer.ack(all), (holder, held) => holder.ack([held])),
        release: async (all) =>
          settleForHolder(
            all.map(({ delivery }) => delivery),
            await consumer.release(all),
            (holder, held) => holder.release([{ delivery: held, delayMs: 0 }]),
          ),
        reject: async (all) =>
          settleForHolder(
            all.map(({ delivery }) => delivery),
            await consumer.reject(all),
            (holder, held) => holder.reject([{ delivery: held, reason: 'ZYQ_JOB_FAILED' }]),
          ),
      }
    })
}

/** Brokers with faults in leases and delivery counts. */
export const leaseFaults: Faults = {
  'acks early': {
    caughtBy: [
      'leases: the job of a lost owner goes to another, unchanged, and counts one lost delivery',
      'leases: jobs that a lost owner settled stay settled',
      'closing: consumer.close gives back unsettled jobs, uncounted',
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async receive(max, options) {
          const deliveries = await consumer.receive(max, options)
          await consumer.ack(deliveries)
          return deliveries
        },
        ack: async (deliveries) => deliveries.map(() => ({ status: 'ok' })),
      })),
  },

  'settles jobs for owners that have lost them': {
    caughtBy: [
      'leases: an ack after the lease was lost does not take the job from the new owner',
      'leases: a release after the lease was lost does not make the job ready',
      'leases: a reject after the lease was lost makes no dead letter',
      'leases: an ack after the lease was lost has no effect before the job has a new owner',
      'leases: a release after the new owner has acked does not bring the job back',
      'leases: settling a reclaimed job does not take it from the new owner',
    ],
    breaks: settlesForLostOwners,
  },

  'never ends a lease': {
    caughtBy: [
      'leases: a waiting receive gets the job of an owner that is lost meanwhile',
      'admin: a lost worker is not listed',
    ],
    breaks: () => (broker) =>
      alterBroker(
        alterLeases(broker, (leases) => ({ renew: (ids) => leases.renew(ids, 600_000) })),
        { consume: (options) => broker.consume({ ...options, leaseMs: 600_000 }) },
      ),
  },

  'ignores leaseMs until the lease is renewed': {
    caughtBy: ['leases: a lease that is not renewed ends'],
    breaks: () => (broker) =>
      alterBroker(broker, { consume: (options) => broker.consume({ ...options, leaseMs: 600_000 }) }),
  },

  'does not renew': {
    caughtBy: [
      'leases: renew sets the lease of all jobs to end leaseMs from now',
      'leases: an owner keeps all its jobs while its lease is renewed',
    ],
    breaks: () => (broker) => alterLeases(broker, () => ({ renew: async () => [] })),
  },

  'extends only the first of the held jobs': {
    caughtBy: [
      'leases: renew sets the lease of all jobs to end leaseMs from now',
      'leases: an owner keeps all its jobs while its lease is renewed',
    ],
    breaks: () => {
      const ends = new Map<string, () => Promise<void>>()
      return (broker) =>
        alterLeases(
          alterConsumers(broker, (consumer, { consumerId }) => {
            const others: Delivery[] = []
            ends.set(consumerId, async () => {
              await consumer.release(others.splice(0).map((delivery) => ({ delivery, delayMs: 0 })))
            })
            return {
              async receive(max, options) {
                const deliveries = await consumer.receive(max, options)
                others.push(...deliveries.slice(1))
                return deliveries
              },
            }
          }),
          (leases) => ({
            async renew(ids, leaseMs) {
              for (const id of ids) await ends.get(id)?.()
              return leases.renew(ids, leaseMs)
            },
          }),
        )
    },
  },

  'reports no ended leases': {
    caughtBy: ['leases: renew returns the ended leases and revives none'],
    breaks: () => (broker) =>
      alterLeases(broker, (leases) => ({
        async renew(ids, leaseMs) {
          await leases.renew(ids, leaseMs)
          return []
        },
      })),
  },

  'revives an ended lease': {
    caughtBy: ['leases: renew returns the ended leases and revives none'],
    breaks: () => {
      const revived = new Set<string>()
      return (broker) =>
        alterLeases(
          alterConsumers(broker, (consumer, { consumerId }) => ({
            ack: async (all) => (revived.has(consumerId) ? all.map(() => ({ status: 'ok' })) : consumer.ack(all)),
          })),
          (leases) => ({
            async renew(ids, leaseMs) {
              const ended = await leases.renew(ids, leaseMs)
              for (const id of ended) revived.add(id)
              return ended
            },
          }),
        )
    },
  },

  'continues to receive without a lease': {
    caughtBy: ['leases: receive after the lease has ended rejects with ZYQ_LEASE_LOST'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        receive: (max, options) =>
          consumer.receive(max, options).catch((error: unknown) => {
            if (broker.errorCode(error) === 'ZYQ_LEASE_LOST') return []
            throw error
          }),
      })),
  },

  'reclaims nothing': {
    caughtBy: ['leases: reclaim makes all jobs ready at once and counts only the listed losses'],
    breaks: () => (broker) => alterLeases(broker, () => ({ reclaim: async () => undefined })),
  },

  'counts a loss for every job at reclaim': {
    caughtBy: ['leases: reclaim makes all jobs ready at once and counts only the listed losses'],
    breaks: () => {
      const seen = new Set<string>()
      return (broker) =>
        alterLeases(
          alterConsumers(broker, (consumer) => ({
            async receive(max, options) {
              const deliveries = await consumer.receive(max, options)
              for (const { id } of deliveries) seen.add(id)
              return deliveries
            },
          })),
          (leases) => ({
            reclaim: (id) =>
              leases.reclaim(
                id,
                [...seen].map((jobId) => ({ id: jobId })),
              ),
          }),
        )
    },
  },

  'counts no loss at reclaim': {
    caughtBy: ['leases: reclaim makes all jobs ready at once and counts only the listed losses'],
    breaks: () => (broker) => alterLeases(broker, (leases) => ({ reclaim: (id) => leases.reclaim(id, []) })),
  },

  'drops the headers of a lost delivery': {
    caughtBy: ['leases: reclaim merges the headers of a lost delivery into those of the job'],
    breaks: () => (broker) =>
      alterLeases(broker, (leases) => ({
        reclaim: (id, lost) =>
          leases.reclaim(
            id,
            lost.map((delivery) => ({ id: delivery.id })),
          ),
      })),
  },

  'rejects the reclaim of an unknown consumer': {
    caughtBy: ['leases: reclaim of an ended or unknown consumer changes nothing'],
    breaks: () => {
      const gone = new Set<string>()
      return (broker) =>
        alterLeases(broker, (leases) => ({
          async reclaim(id, lost) {
            if (gone.has(id)) throw new Error('unknown consumer')
            gone.add(id)
            await leases.reclaim(id, lost)
          },
        }))
    },
  },

  'returns deliveryCount 0 always': {
    caughtBy: [
      'delivery counts: each lost owner counts once',
      'delivery counts: a release keeps the delivery count',
      'delivery counts: a job that was not delivered to the lost owner counts no lost delivery',
    ],
    breaks: changingDeliveries((delivery) => ({ ...delivery, deliveryCount: 0 })),
  },

  'returns deliveryCount 1 always': {
    caughtBy: [
      'delivery counts: a job that was not delivered to the lost owner counts no lost delivery',
      'closing: broker.close gives back unsettled jobs of its consumers, uncounted',
    ],
    breaks: changingDeliveries((delivery) => ({ ...delivery, deliveryCount: 1 })),
  },

  'counts releases as deliveries': {
    caughtBy: [
      'release: a released job is ready at once, unchanged, and counts no lost delivery',
      'delivery counts: a release keeps the delivery count',
    ],
    breaks: () => {
      const releases = new Map<string, number>()
      return (broker) =>
        alterConsumers(
          alterDeliveries(broker, (delivery) => ({
            ...delivery,
            deliveryCount: delivery.deliveryCount + (releases.get(delivery.id) ?? 0),
          })),
          (consumer) => ({
            release(all) {
              for (const { delivery } of all) releases.set(delivery.id, (releases.get(delivery.id) ?? 0) + 1)
              return consumer.release(all)
            },
          }),
        )
    },
  },
}

import type { SettleResult } from '@zyqueue/core/broker'
import { alterConsumers, alterIds } from '../alter.ts'
import { hang, type Faults } from './fault.ts'

function allOk(results: readonly unknown[]): readonly SettleResult[] {
  return results.map(() => ({ status: 'ok' }))
}

const methods = ['ack', 'release', 'reject'] as const

/** Brokers with faults in settlements. */
export const settleFaults: Faults = {
  'reports every settlement as ok': {
    caughtBy: [
      'settle: results are in the order of the deliveries, also if one is lease-lost',
      ...methods.flatMap((first) =>
        methods.map((second) => `settle: ${second} after ${first} is lease-lost and changes nothing`),
      ),
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        ack: async (all) => allOk(await consumer.ack(all)),
        release: async (all) => allOk(await consumer.release(all)),
        reject: async (all) => allOk(await consumer.reject(all)),
      })),
  },

  'settles nothing': {
    caughtBy: [
      'settle: ack ends a job',
      'settle: deliveries may be settled in any order, with concurrent ack, release and reject',
      'settle: one call may settle 1,500 deliveries',
      'dead letters: a rejected job is kept with its reason and not delivered again',
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, () => ({
        ack: async (all) => allOk(all),
        release: async (all) => allOk(all),
        reject: async (all) => allOk(all),
      })),
  },

  'settles at most 1,000 a call': {
    caughtBy: ['settle: one call may settle 1,500 deliveries'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async ack(all) {
          await consumer.ack(all.slice(0, 1000))
          return allOk(all)
        },
      })),
  },

  'answers settlements in the wrong order': {
    caughtBy: ['settle: results are in the order of the deliveries, also if one is lease-lost'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        ack: async (all) => (await consumer.ack(all)).toSorted((a, b) => a.status.localeCompare(b.status)),
      })),
  },

  'answers settlements in reverse': {
    caughtBy: ['settle: results are in the order of the deliveries, also if one is lease-lost'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        ack: async (all) => (await consumer.ack(all)).toReversed(),
      })),
  },

  'answers releases in reverse': {
    caughtBy: ['settle: results are in the order of the deliveries, also if one is lease-lost'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        release: async (all) => (await consumer.release(all)).toReversed(),
      })),
  },

  'answers rejections in reverse': {
    caughtBy: ['settle: results are in the order of the deliveries, also if one is lease-lost'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        reject: async (all) => (await consumer.reject(all)).toReversed(),
      })),
  },

  'refuses to settle an empty list': {
    caughtBy: ['settle: settling an empty list returns no results'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        ack: async (all) => (all.length === 0 ? Promise.reject(new Error('empty')) : consumer.ack(all)),
      })),
  },

  'settles only after a receive has returned jobs': {
    caughtBy: ['settle: a consumer may settle while its receive is pending'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => {
        let received: Promise<unknown> = Promise.resolve()
        return {
          receive(max, options) {
            const receiving = consumer.receive(max, options)
            received = receiving
              .then((deliveries) => (deliveries.length === 0 ? hang() : undefined))
              .catch(() => undefined)
            return receiving
          },
          ack: async (all) => received.then(() => consumer.ack(all)),
        }
      }),
  },

  'releases jobs instead of rejecting them': {
    caughtBy: ['dead letters: a rejected job is kept with its reason and not delivered again'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        reject: (all) => consumer.release(all.map(({ delivery }) => ({ delivery, delayMs: 0 }))),
      })),
  },

  'acks jobs instead of rejecting them': {
    caughtBy: ['dead letters: a rejected job is kept with its reason and not delivered again'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        reject: (all) => consumer.ack(all.map(({ delivery }) => delivery)),
      })),
  },

  'ignores the headers of a rejection': {
    caughtBy: ['dead letters: reject with headers replaces all headers'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        reject: (all) => consumer.reject(all.map(({ delivery, reason }) => ({ delivery, reason }))),
      })),
  },

  'merges the headers of a release': {
    caughtBy: ['release: release with headers replaces all headers and keeps the priority'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        release: (all) =>
          consumer.release(
            all.map((one) => (one.headers ? { ...one, headers: { ...one.delivery.headers, ...one.headers } } : one)),
          ),
      })),
  },

  'ignores the headers of a release': {
    caughtBy: [
      'release: release with headers replaces all headers and keeps the priority',
      'release: one release call may have different delays and headers',
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        release: (all) => consumer.release(all.map(({ delivery, delayMs }) => ({ delivery, delayMs }))),
      })),
  },

  'drops the priority when it releases with headers': {
    caughtBy: [
      'release: release with headers replaces all headers and keeps the priority',
      'release: a job released with a delay is not early and keeps its priority',
      'priorities: a released or requeued job is ahead of jobs with a lower priority',
    ],
    breaks: () => (memory) => {
      const { broker, storeCopies } = alterIds(memory)
      return alterConsumers(broker, (consumer) => ({
        async release(all) {
          const results = await consumer.ack(all.map(({ delivery }) => delivery))
          await storeCopies(
            all.map(({ delivery, delayMs, headers = delivery.headers }) => ({
              ...delivery,
              delayMs,
              headers,
              priority: 4,
            })),
          )
          return results
        },
      }))
    },
  },

  'ignores the delay of a release': {
    caughtBy: [
      'release: a job released with a delay is not early and keeps its priority',
      'release: one release call may have different delays and headers',
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        release: (all) => consumer.release(all.map((one) => ({ ...one, delayMs: 0 }))),
      })),
  },

  'puts a released job at the end of its queue': {
    caughtBy: ['release: a released job returns to its old place'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        release: (all) => consumer.release(all.map((one) => ({ ...one, delayMs: Math.max(1, one.delayMs) }))),
      })),
  },
}

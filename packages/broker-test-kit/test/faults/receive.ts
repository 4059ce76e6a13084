import type { Consumer, Delivery, QueueSpec } from '@zyqueue/core/broker'
import { setTimeout as sleep } from 'node:timers/promises'
import { alterBroker, alterConsumers, alterDeliveries } from '../alter.ts'
import { hang, type Faults } from './fault.ts'

/** Receives the ready jobs without waiting. */
async function takeReady(consumer: Consumer, max: number): Promise<readonly Delivery[]> {
  const controller = new AbortController()
  const receiving = consumer.receive(max, { signal: controller.signal })
  controller.abort()
  return receiving
}

/** Brokers with faults in `receive`. */
export const receiveFaults: Faults = {
  'delivers twice': {
    caughtBy: [
      'receive: two consumers never get the same job',
      'lifecycle: a second or concurrent connect changes nothing',
      'concurrency: 4 consumers ack or release 2,000 jobs at random, and each job is acked once',
    ],
    breaks: () => (broker) =>
      alterBroker(
        alterDeliveries(broker, (delivery) => ({ ...delivery, id: delivery.id.replace(/~2$/, '') })),
        {
          async publish(batch) {
            await broker.publish(batch.map((message) => ({ ...message, id: `${message.id}~2` })))
            return broker.publish(batch)
          },
        },
      ),
  },

  'delivers the last first': {
    caughtBy: ['receive: jobs arrive in the order in which they were published'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        receive: async (max, options) => (await consumer.receive(max, options)).toReversed(),
      })),
  },

  'returns more than max deliveries': {
    caughtBy: ['receive: receive returns at most max deliveries'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({ receive: (max, options) => consumer.receive(max + 1, options) })),
  },

  'ignores prefetch': {
    caughtBy: [
      'receive: a consumer holds at most prefetch deliveries; settling one makes room',
      'receive: the queues of a consumer share one prefetch',
    ],
    breaks: () => (broker) =>
      alterBroker(broker, { consume: (options) => broker.consume({ ...options, prefetch: 10_000 }) }),
  },

  'delivers no more than prefetch jobs in total': {
    caughtBy: ['receive: a consumer holds at most prefetch deliveries; settling one makes room'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer, { prefetch }) => {
        let given = 0
        return {
          async receive(max, options) {
            if (given >= prefetch) return sleep(50, [])
            const deliveries = await consumer.receive(max, options)
            given += deliveries.length
            return deliveries
          },
        }
      }),
  },

  'waits for ever if the queue is empty': {
    caughtBy: [
      'receive: receive resolves to [] after about a second without a job',
      'receive: an aborted receive resolves to [], and the next one gets the job',
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async receive(max, options) {
          for (;;) {
            const deliveries = await consumer.receive(max, options)
            if (deliveries.length > 0) return deliveries
            if (options.signal.aborted) return hang()
          }
        },
      })),
  },

  'polls only once in a receive': {
    caughtBy: [
      'receive: a waiting receive gets a job that is published meanwhile',
      'release: a released job goes to another waiting consumer',
      'leases: a waiting receive gets the job of an owner that is lost meanwhile',
      'delays: a waiting receive gets a delayed job when it is due',
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async receive(max) {
          const deliveries = await takeReady(consumer, max)
          return deliveries.length > 0 ? deliveries : hang()
        },
      })),
  },

  'loses jobs that an aborted receive has claimed': {
    caughtBy: ['receive: aborting receives while jobs arrive neither loses nor duplicates jobs'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async receive(max, { signal }) {
          const deliveries = await consumer.receive(max, { signal: new AbortController().signal })
          return signal.aborted ? [] : deliveries
        },
      })),
  },

  'delivers from any queue': {
    caughtBy: ['receive: a consumer gets jobs of its own queues only'],
    breaks: () => {
      const everyName = new Set<string>()
      return (broker) =>
        alterBroker(broker, {
          async declare(queues) {
            await broker.declare(queues)
            for (const { name } of queues) everyName.add(name)
          },
          consume: (options) =>
            broker.consume({ ...options, queues: [...everyName].map((name) => ({ name, options: {} })) }),
        })
    },
  },

  'delivers from the queues of other consumers': {
    caughtBy: ['receive: a consumer gets jobs of its own queues only'],
    breaks: () => (broker) => {
      const consumed: QueueSpec[] = []
      return alterBroker(broker, {
        consume(options) {
          consumed.push(...options.queues)
          return broker.consume({ ...options, queues: [...consumed] })
        },
      })
    },
  },

  'treats queue names as patterns': {
    caughtBy: ['receive: a consumer gets jobs of its own queues only'],
    breaks: () => {
      const everyName = new Set<string>()
      return (broker) =>
        alterBroker(broker, {
          async declare(queues) {
            await broker.declare(queues)
            for (const { name } of queues) everyName.add(name)
          },
          consume(options) {
            const patterns = options.queues
              .filter(({ name }) => name.endsWith('.>'))
              .map(({ name }) => name.slice(0, -1))
            const names = [...everyName].filter((name) => patterns.some((start) => name.startsWith(start)))
            return broker.consume({
              ...options,
              queues: [...options.queues, ...names.map((name) => ({ name, options: {} }))],
            })
          },
        })
    },
  },

  'consumes its queues one after another': {
    caughtBy: ['receive: a long queue does not starve a short one, in either order'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async consume(options) {
          const consumers: Consumer[] = []
          for (const [index, queue] of options.queues.entries()) {
            const consumerId = `${options.consumerId}-${index}`
            consumers.push(await broker.consume({ ...options, consumerId, queues: [queue] }))
          }
          /** Only one of the consumers holds the delivery. The others answer lease-lost. */
          const settle = async <Result extends { readonly status: string }>(
            call: (consumer: Consumer) => Promise<readonly Result[]>,
          ): Promise<readonly Result[]> => {
            const answers = await Promise.all(consumers.map(call))
            return (answers[0] ?? []).map((lost, i) => answers.map((a) => a[i]).find((r) => r?.status === 'ok') ?? lost)
          }
          return {
            async receive(max) {
              for (let poll = 0; poll < 50; poll++) {
                for (const consumer of consumers) {
                  const deliveries = await takeReady(consumer, max)
                  if (deliveries.length > 0) return deliveries
                }
                await sleep(20)
              }
              return []
            },
            ack: (all) => settle((consumer) => consumer.ack(all)),
            release: (all) => settle((consumer) => consumer.release(all)),
            reject: (all) => settle((consumer) => consumer.reject(all)),
            close: async () => void (await Promise.all(consumers.map((consumer) => consumer.close()))),
          }
        },
      }),
  },

  'consumes at most 16 queues': {
    caughtBy: ['receive: one consumer may consume 50 queues'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        consume: (options) => broker.consume({ ...options, queues: options.queues.slice(0, 16) }),
      }),
  },
}

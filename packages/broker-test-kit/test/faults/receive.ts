import type { Consumer, Delivery, QueueSpec } from '@zyqueue/core/broker'
import { setTimeout as sleep } from 'node:timers/promises'
import { alterBroker, alterConsumers, alterDeliveries } from '../alter.ts'
import { hang, type Faults } from './fault.ts'

/** Takes what is there, and waits for nothing. */
async function takeReady(consumer: Consumer, max: number): Promise<readonly Delivery[]> {
  const controller = new AbortController()
  const receiving = consumer.receive(max, { signal: controller.signal })
  controller.abort()
  return receiving
}

/** Brokers that are wrong in what they deliver. */
export const receiveFaults: Faults = {
  'delivers twice': {
    caughtBy: [
      'receive: two consumers never have the same delivery',
      'lifecycle: connect again, or twice at once, changes nothing',
      'concurrency: of 2,000 jobs that 4 consumers acknowledge or release at random, each is acknowledged once',
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
    caughtBy: ['receive: what was published first arrives first'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        receive: async (max, options) => (await consumer.receive(max, options)).toReversed(),
      })),
  },

  'gives more than max': {
    caughtBy: ['receive: a call gives at most max deliveries'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({ receive: (max, options) => consumer.receive(max + 1, options) })),
  },

  'ignores prefetch': {
    caughtBy: [
      'receive: at most prefetch deliveries are in hand; to settle one makes room',
      'receive: several queues share one prefetch',
    ],
    breaks: () => (broker) =>
      alterBroker(broker, { consume: (options) => broker.consume({ ...options, prefetch: 10_000 }) }),
  },

  'never makes room in a full hand': {
    caughtBy: ['receive: at most prefetch deliveries are in hand; to settle one makes room'],
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

  'waits for ever where there is nothing': {
    caughtBy: [
      'receive: a call resolves to nothing after a while, again and again',
      'receive: an aborted call settles, and the next one gets the job',
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

  'looks only once in a receive': {
    caughtBy: [
      'receive: a call that waits gets what is published meanwhile',
      'release: a released job goes to whoever is there',
      'leases: a receive that waits gets the job of an owner that is lost meanwhile',
      'delays: a delayed job comes to a receive that waits already',
    ],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async receive(max) {
          const deliveries = await takeReady(consumer, max)
          return deliveries.length > 0 ? deliveries : hang()
        },
      })),
  },

  'loses what an aborted receive had claimed': {
    caughtBy: ['receive: calls that are aborted while jobs arrive lose none and double none'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async receive(max, { signal }) {
          const deliveries = await consumer.receive(max, { signal: new AbortController().signal })
          return signal.aborted ? [] : deliveries
        },
      })),
  },

  'delivers from any queue': {
    caughtBy: ['receive: a consumer of one queue gets nothing of another'],
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

  'serves the queues of its neighbours': {
    caughtBy: ['receive: a consumer of one queue gets nothing of another'],
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

  'takes queue names for patterns': {
    caughtBy: ['receive: a consumer of one queue gets nothing of another'],
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

  'serves its queues in order': {
    caughtBy: ['receive: a long queue does not starve the others, wherever it stands'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async consume(options) {
          const consumers: Consumer[] = []
          for (const [index, queue] of options.queues.entries()) {
            const consumerId = `${options.consumerId}-${index}`
            consumers.push(await broker.consume({ ...options, consumerId, queues: [queue] }))
          }
          /** One of them has it; to the others it is not theirs. */
          const settle = async <Result extends { readonly status: string }>(
            call: (consumer: Consumer) => Promise<readonly Result[]>,
          ): Promise<readonly Result[]> => {
            const answers = await Promise.all(consumers.map(call))
            return (answers[0] ?? []).map((lost, i) => answers.map((a) => a[i]).find((r) => r?.status === 'ok') ?? lost)
          }
          return {
            async receive(max) {
              for (let look = 0; look < 50; look++) {
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

  'serves one queue of many': {
    caughtBy: ['receive: one consumer may serve many queues'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        consume: (options) => broker.consume({ ...options, queues: options.queues.slice(0, 16) }),
      }),
  },
}

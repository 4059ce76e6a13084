import type { Delivery } from '@zyqueue/core/broker'
import { alterConsumers } from '../alter.ts'
import type { Faults } from './fault.ts'

const LISTENER = 'listeners: receive leaves no listener on its signal'
const OBJECTS = 'memory: receive leaks no objects'

/** Brokers that leak memory with each receive. */
export const memoryFaults: Faults = {
  'leaves a listener on the signal of each receive': {
    caughtBy: [LISTENER],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        receive(max, options) {
          options.signal.addEventListener('abort', () => max)
          return consumer.receive(max, options)
        },
      })),
  },

  'leaves a listener on its own signal with each receive': {
    caughtBy: [OBJECTS],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => {
        const end = new AbortController()
        return {
          receive(max, options) {
            end.signal.addEventListener('abort', () => max)
            return consumer.receive(max, options)
          },
        }
      }),
  },

  'keeps each delivery': {
    caughtBy: [OBJECTS],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => {
        const given: Delivery[] = []
        return {
          async receive(max, options) {
            const deliveries = await consumer.receive(max, options)
            given.push(...deliveries)
            return deliveries
          },
        }
      }),
  },
}

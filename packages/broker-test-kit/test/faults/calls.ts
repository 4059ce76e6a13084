import { alterBroker, alterCalls, alterConsumers } from '../alter.ts'
import type { Faults } from './fault.ts'

/** Brokers with faults in `calls`. */
export const callFaults: Faults = {
  'answers calls with an empty body': {
    caughtBy: [
      'calls: a call resolves to the answer, and its delivery is marked as foreground',
      'calls: the call continues if its job goes to another owner',
    ],
    breaks: () => (broker) =>
      alterCalls(broker, {
        answer: async (all) =>
          (await broker.calls?.answer(all.map((answer) => ({ ...answer, body: new Uint8Array() })))) ?? [],
      }),
  },

  'answers a call with a body when its job is acked': {
    caughtBy: ['calls: an ack answers a call with an empty body'],
    breaks: () => (broker) =>
      alterConsumers(broker, () => ({
        ack: async (all) =>
          (await broker.calls?.answer(all.map((delivery) => ({ delivery, body: Uint8Array.of(0x31) })))) ?? [],
      })),
  },

  'reports a failed call as done': {
    caughtBy: ['calls: reject sends the reason to the caller and keeps no dead letter'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        reject: (all) => consumer.ack(all.map(({ delivery }) => delivery)),
      })),
  },

  'sends no updates': {
    caughtBy: ['calls: updates arrive in order, before the result'],
    breaks: () => (broker) => alterCalls(broker, { sendUpdate: () => {} }),
  },

  'ignores the abort of a call': {
    caughtBy: ['calls: an aborted call rejects, and a late answer has no effect'],
    breaks: () => (broker) => {
      const { signal } = new AbortController()
      return alterCalls(broker, {
        call: async (message, options) =>
          (await broker.calls?.call(message, { ...options, signal })) ?? { status: 'failed' },
      })
    },
  },

  'leaves calls pending when it is closed': {
    caughtBy: ['calls: close settles pending calls'],
    breaks: () => (broker) => alterBroker(broker, { close: async () => {} }),
  },
}

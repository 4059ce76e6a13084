import { altered, alteredConsumers } from '../altered.ts'
import type { Faults } from './fault.ts'

/** Brokers that are wrong about jobs that somebody waits for. */
export const callFaults: Faults = {
  'answers calls with nothing': {
    caughtBy: [
      'calls: a call resolves to what was answered; its delivery says that it is waited for',
      'calls: the job of a lost owner goes to another, and the call goes on',
    ],
    breaks: () => (broker) =>
      alteredConsumers(broker, (consumer) => ({
        answer: (all) => consumer.ack(all.map(({ delivery }) => delivery)),
      })),
  },

  'answers an ack with something': {
    caughtBy: ['calls: an ack answers nothing, which is an answer'],
    breaks: () => (broker) =>
      alteredConsumers(broker, (consumer) => ({
        ack: async (all) =>
          (await consumer.answer?.(all.map((delivery) => ({ delivery, body: Uint8Array.of(0x31) })))) ?? [],
      })),
  },

  'calls a failure a success': {
    caughtBy: ['calls: to reject tells the caller why, and leaves no dead letter'],
    breaks: () => (broker) =>
      alteredConsumers(broker, (consumer) => ({
        reject: (all) => consumer.ack(all.map(({ delivery }) => delivery)),
      })),
  },

  'keeps the news to itself': {
    caughtBy: ['calls: news come in their order, before the end'],
    breaks: () => (broker) => alteredConsumers(broker, () => ({ tell: () => {} })),
  },

  'waits on after an abort': {
    caughtBy: ['calls: a call that is aborted rejects, and a late answer hurts nobody'],
    breaks: () => (broker) => {
      const { signal } = new AbortController()
      return altered(broker, {
        ...(broker.call && {
          call: async (message, options) =>
            (await broker.call?.(message, { ...options, signal })) ?? { status: 'failed' },
        }),
      })
    },
  },

  'leaves calls pending when it is closed': {
    caughtBy: ['calls: close settles the calls that are under way'],
    breaks: () => (broker) => altered(broker, { close: async () => {} }),
  },
}

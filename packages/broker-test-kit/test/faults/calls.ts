import { alterBroker, alterCalls, alterConsumers } from '../alter.ts'
import type { Faults } from './fault.ts'

/** Brokers that are wrong about jobs that somebody waits for. */
export const callFaults: Faults = {
  'answers calls with nothing': {
    caughtBy: [
      'calls: a call resolves to what was answered; its delivery says that it is waited for',
      'calls: the job of a lost owner goes to another, and the call goes on',
    ],
    breaks: () => (broker) =>
      alterCalls(broker, {
        answer: async (all) =>
          (await broker.calls?.answer(all.map((answer) => ({ ...answer, body: new Uint8Array() })))) ?? [],
      }),
  },

  'answers an ack with something': {
    caughtBy: ['calls: an ack answers nothing, which is an answer'],
    breaks: () => (broker) =>
      alterConsumers(broker, () => ({
        ack: async (all) =>
          (await broker.calls?.answer(all.map((delivery) => ({ delivery, body: Uint8Array.of(0x31) })))) ?? [],
      })),
  },

  'calls a failure a success': {
    caughtBy: ['calls: to reject tells the caller why, and leaves no dead letter'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        reject: (all) => consumer.ack(all.map(({ delivery }) => delivery)),
      })),
  },

  'sends no updates': {
    caughtBy: ['calls: updates come in their order, before the end'],
    breaks: () => (broker) => alterCalls(broker, { sendUpdate: () => {} }),
  },

  'waits on after an abort': {
    caughtBy: ['calls: a call that is aborted rejects, and a late answer hurts nobody'],
    breaks: () => (broker) => {
      const { signal } = new AbortController()
      return alterCalls(broker, {
        call: async (message, options) =>
          (await broker.calls?.call(message, { ...options, signal })) ?? { status: 'failed' },
      })
    },
  },

  'leaves calls pending when it is closed': {
    caughtBy: ['calls: close settles the calls that are under way'],
    breaks: () => (broker) => alterBroker(broker, { close: async () => {} }),
  },
}

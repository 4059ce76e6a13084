import type { Broker } from '@zyqueue/core/broker'
import { alterBroker } from '../alter.ts'
import type { Breaks, Faults } from './fault.ts'

const RESTART = 'restarts: work continues after a restart of the engine, with all stored jobs if the broker is durable'

/** Brokers of an engine that loses data in a restart. */
function loseAtRestart(lose: (broker: Broker, queue: string) => Promise<unknown>): Breaks {
  return () => {
    let restartsSeen = 0
    return (broker, engine) =>
      alterBroker(broker, {
        async connect() {
          await broker.connect()
          if (restartsSeen === engine.restarted) return
          restartsSeen = engine.restarted
          for (const { name } of await broker.admin.queues()) await lose(broker, name)
        },
      })
  }
}

/** Brokers that claim to be durable and are not. */
export const restartFaults: Faults = {
  'loses its jobs when its engine ends': {
    caughtBy: [RESTART],
    breaks: loseAtRestart((broker, queue) => broker.admin.purge(queue)),
  },

  'loses its delayed jobs when its engine ends': {
    caughtBy: [RESTART],
    breaks: loseAtRestart(async (broker, queue) => {
      const jobs = (await broker.admin.jobs?.(queue, { limit: 100 })) ?? []
      const delayed = jobs.filter(({ state }) => state === 'delayed')
      await broker.admin.cancel?.(
        queue,
        delayed.map(({ id }) => id),
      )
    }),
  },

  'loses its dead letters when its engine ends': {
    caughtBy: [RESTART],
    breaks: loseAtRestart((broker, queue) => broker.admin.deadLetters.purge(queue)),
  },

  'loses the ids of stored messages when its engine ends': {
    caughtBy: [RESTART],
    breaks: () => (broker, engine) =>
      alterBroker(broker, {
        publish: (batch) =>
          broker.publish(batch.map((message) => ({ ...message, id: `${message.id}~${engine.restarted}` }))),
      }),
  },

  'never reconnects after a restart of its engine': {
    caughtBy: [RESTART],
    breaks: () => (broker) => {
      let first: Promise<void> | undefined
      return alterBroker(broker, { connect: () => (first ??= broker.connect()) })
    },
  },

  'rejects publishes after a restart of its engine': {
    caughtBy: [RESTART],
    breaks: () => (broker, engine) =>
      alterBroker(broker, {
        publish: async (batch) => (engine.restarted > 0 ? Promise.reject(new Error('gone')) : broker.publish(batch)),
      }),
  },
}

import type { Broker } from '@zyqueue/core/broker'
import { alterBroker } from '../alter.ts'
import type { Breaks, Faults } from './fault.ts'

const RESTART = 'restarts: work continues after a restart of the engine, with all stored jobs if the broker is durable'

/** Brokers of an engine that forgets something in a restart. */
function forgetting(forget: (broker: Broker, queue: string) => Promise<unknown>): Breaks {
  return () => {
    let forgotten = 0
    return (broker, engine) =>
      alterBroker(broker, {
        async connect() {
          await broker.connect()
          if (forgotten === engine.restarted) return
          forgotten = engine.restarted
          for (const { name } of await broker.admin.queues()) await forget(broker, name)
        },
      })
  }
}

/** Brokers that claim that they are durable, and are not. */
export const restartFaults: Faults = {
  'forgets its jobs when its engine ends': {
    caughtBy: [RESTART],
    breaks: forgetting((broker, queue) => broker.admin.purge(queue)),
  },

  'forgets its delayed jobs when its engine ends': {
    caughtBy: [RESTART],
    breaks: forgetting(async (broker, queue) => {
      const jobs = (await broker.admin.jobs?.(queue, { limit: 100 })) ?? []
      const delayed = jobs.filter(({ state }) => state === 'delayed')
      await broker.admin.cancel?.(
        queue,
        delayed.map(({ id }) => id),
      )
    }),
  },

  'forgets its dead letters when its engine ends': {
    caughtBy: [RESTART],
    breaks: forgetting((broker, queue) => broker.admin.deadLetters.purge(queue)),
  },

  'forgets what it recognises when its engine ends': {
    caughtBy: [RESTART],
    breaks: () => (broker, engine) =>
      alterBroker(broker, {
        publish: (batch) =>
          broker.publish(batch.map((message) => ({ ...message, id: `${message.id}~${engine.restarted}` }))),
      }),
  },

  'never connects again when its engine was started again': {
    caughtBy: [RESTART],
    breaks: () => (broker) => {
      let first: Promise<void> | undefined
      return alterBroker(broker, { connect: () => (first ??= broker.connect()) })
    },
  },

  'does not work when its engine was started again': {
    caughtBy: [RESTART],
    breaks: () => (broker, engine) =>
      alterBroker(broker, {
        publish: async (batch) => (engine.restarted > 0 ? Promise.reject(new Error('gone')) : broker.publish(batch)),
      }),
  },
}

import type { OutboundMessage, WorkerStats } from '@zyqueue/core/broker'
import { alterBroker, alterAdmin, alterConsumers, alterDeadLetters, alterDeliveries, alterIds } from '../alter.ts'
import type { Breaks, Faults } from './fault.ts'

/** Requeues dead letters as changed copies. */
function requeuing(change: (message: OutboundMessage) => OutboundMessage): Breaks {
  return () => {
    const priorities = new Map<string, number>()
    return (memory) => {
      const { broker, storeCopies } = alterIds(memory)
      const { deadLetters } = broker.admin
      const noting = alterConsumers(broker, (consumer) => ({
        reject(all) {
          for (const { delivery } of all) priorities.set(delivery.id, delivery.priority)
          return consumer.reject(all)
        },
      }))
      return alterDeadLetters(noting, {
        async requeue(queue, ids) {
          const all = await deadLetters.list(queue, { limit: 1000 })
          const letters = all.filter(({ id }) => ids?.includes(id) ?? true)
          await storeCopies(
            letters.map((letter) => change({ ...letter, delayMs: 0, priority: priorities.get(letter.id) ?? 4 })),
          )
          return deadLetters.purge(queue, ids)
        },
      })
    }
  }
}

/** Brokers with faults in `admin`. */
export const adminFaults: Faults = {
  'lists the oldest dead letter first': {
    caughtBy: ['dead letters: the newest dead letter is listed first, and at most limit of them'],
    breaks: () => (broker) =>
      alterDeadLetters(broker, {
        list: async (queue, { limit }) =>
          (await broker.admin.deadLetters.list(queue, { limit: 1000 })).toReversed().slice(0, limit),
      }),
  },

  'removes jobs when it lists them': {
    caughtBy: ['waiting jobs: listing jobs moves none'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        async jobs(queue, options) {
          const jobs = (await broker.admin.jobs?.(queue, options)) ?? []
          await broker.admin.cancel?.(
            queue,
            jobs.map(({ id }) => id),
          )
          return jobs
        },
      }),
  },

  'lists the latest job first': {
    caughtBy: ['waiting jobs: jobs are listed unchanged, in the order in which they will run, at most limit of them'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        jobs: async (queue, options) => ((await broker.admin.jobs?.(queue, options)) ?? []).toReversed(),
      }),
  },

  'lists no jobs of an unknown queue instead of rejecting': {
    caughtBy: ['waiting jobs: jobs, cancel, promote and compact of an unknown queue reject with ZYQ_QUEUE_NOT_FOUND'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        jobs: async (queue, options) => broker.admin.jobs?.(queue, options).catch(() => []) ?? [],
      }),
  },

  'cancels all waiting jobs': {
    caughtBy: ['waiting jobs: cancel deletes the waiting jobs with these ids, and nothing else'],
    breaks: () => (broker) => alterAdmin(broker, { cancel: (queue) => broker.admin.purge(queue) }),
  },

  'promotes no job and counts it': {
    caughtBy: [
      'waiting jobs: promote makes the delayed jobs with these ids ready, and nothing else',
      'waiting jobs: promote wakes a consumer that waits, and the job is unchanged',
    ],
    breaks: () => (broker) => alterAdmin(broker, { promote: async () => 1 }),
  },

  'reports the newest ready job as the oldest': {
    caughtBy: ['admin: the time at which the oldest ready job was stored, if it is reported, is that of the oldest'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        queues: async (names) =>
          (await broker.admin.queues(names)).map((stats) =>
            stats.oldestStoredAtMs === undefined ? stats : { ...stats, oldestStoredAtMs: Date.now() },
          ),
      }),
  },

  'lists dead letters without a reason': {
    caughtBy: [
      'dead letters: a rejected job is kept with its reason and not delivered again',
      'dead letters: a requeued job can be rejected again',
    ],
    breaks: () => (broker) =>
      alterDeadLetters(broker, {
        list: async (queue, options) =>
          (await broker.admin.deadLetters.list(queue, options)).map((letter) => ({ ...letter, reason: '' })),
      }),
  },

  'lists the dead letters of all queues': {
    caughtBy: ['dead letters: each queue has its own dead letters'],
    breaks: () => (broker) =>
      alterDeadLetters(broker, {
        async list(_queue, options) {
          const queues = await broker.admin.queues()
          return (await Promise.all(queues.map(({ name }) => broker.admin.deadLetters.list(name, options)))).flat()
        },
      }),
  },

  'ignores the ids of dead letters': {
    caughtBy: [
      'dead letters: purge deletes the dead letters with these ids, or all',
      'dead letters: requeue with ids makes these jobs ready, unchanged, and keeps the rest',
    ],
    breaks: () => (broker) =>
      alterDeadLetters(broker, {
        requeue: (queue) => broker.admin.deadLetters.requeue(queue),
        purge: (queue) => broker.admin.deadLetters.purge(queue),
      }),
  },

  'requeues nothing': {
    caughtBy: ['dead letters: requeue without ids makes all jobs ready'],
    breaks: () => (broker) => alterDeadLetters(broker, { requeue: async (_queue, ids) => ids?.length ?? 3 }),
  },

  'keeps the delivery count of a dead letter': {
    caughtBy: ['dead letters: a requeued job starts with delivery count 0'],
    breaks: () => {
      const counts = new Map<string, number>()
      return (broker) =>
        alterConsumers(
          alterDeliveries(broker, (delivery) => ({
            ...delivery,
            deliveryCount: Math.max(delivery.deliveryCount, counts.get(delivery.id) ?? 0),
          })),
          (consumer) => ({
            reject(all) {
              for (const { delivery } of all) counts.set(delivery.id, delivery.deliveryCount)
              return consumer.reject(all)
            },
          }),
        )
    },
  },

  'purges the dead letters with the queue': {
    caughtBy: ['dead letters: purging a queue keeps its dead letters'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        async purge(queue) {
          await broker.admin.deadLetters.purge(queue)
          return broker.admin.purge(queue)
        },
      }),
  },

  'counts active jobs as ready': {
    caughtBy: ['admin: a declared queue is listed with its figures'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        queues: async (names) =>
          (await broker.admin.queues(names)).map((stats) => ({
            ...stats,
            ready: (stats.ready ?? 0) + (stats.active ?? 0),
          })),
      }),
  },

  'returns NaN as a figure': {
    caughtBy: ['admin: figures are whole numbers and each queue is listed once'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        queues: async (names) => (await broker.admin.queues(names)).map((stats) => ({ ...stats, ready: NaN })),
      }),
  },

  'lists all queues when it is asked for some': {
    caughtBy: ['admin: queues lists only the named queues, and none for an empty list'],
    breaks: () => (broker) => alterAdmin(broker, { queues: () => broker.admin.queues() }),
  },

  'lists no workers': {
    caughtBy: ['admin: workers are listed with their client and queues until they close'],
    breaks: () => (broker) => alterAdmin(broker, { workers: async () => [] }),
  },

  'lists closed workers': {
    caughtBy: [
      'admin: a lost worker is not listed',
      'admin: workers are listed with their client and queues until they close',
    ],
    breaks: () => {
      const seen = new Map<string, WorkerStats>()
      return (broker) =>
        alterAdmin(
          alterBroker(broker, {
            async consume(options) {
              const consumer = await broker.consume(options)
              for (const worker of (await broker.admin.workers?.()) ?? []) seen.set(worker.id, worker)
              return consumer
            },
          }),
          { workers: async () => [...seen.values()] },
        )
    },
  },

  'does not count delayed jobs that it purges': {
    caughtBy: ['admin: purge deletes ready and delayed jobs, and nothing else'],
    breaks: () => (broker) =>
      alterAdmin(broker, {
        async purge(queue) {
          const [stats] = await broker.admin.queues([queue])
          return (await broker.admin.purge(queue)) - (stats?.delayed ?? 0)
        },
      }),
  },

  'purges unknown queues without an error': {
    caughtBy: ['admin: purge of an unknown queue rejects with ZYQ_QUEUE_NOT_FOUND'],
    breaks: () => (broker) => alterAdmin(broker, { purge: (queue) => broker.admin.purge(queue).catch(() => 0) }),
  },

  'has no dead letters of unknown queues instead of rejecting': {
    caughtBy: ['dead letters: list, requeue and purge of an unknown queue reject with ZYQ_QUEUE_NOT_FOUND'],
    breaks: () => (broker) => {
      const { deadLetters } = broker.admin
      return alterDeadLetters(broker, { list: (queue, options) => deadLetters.list(queue, options).catch(() => []) })
    },
  },

  'requeues no dead letters of unknown queues instead of rejecting': {
    caughtBy: ['dead letters: list, requeue and purge of an unknown queue reject with ZYQ_QUEUE_NOT_FOUND'],
    breaks: () => (broker) => {
      const { deadLetters } = broker.admin
      return alterDeadLetters(broker, { requeue: (queue, ids) => deadLetters.requeue(queue, ids).catch(() => 0) })
    },
  },

  'purges the dead letters of unknown queues without an error, if it gets ids': {
    caughtBy: ['dead letters: list, requeue and purge of an unknown queue reject with ZYQ_QUEUE_NOT_FOUND'],
    breaks: () => (broker) => {
      const { deadLetters } = broker.admin
      return alterDeadLetters(broker, {
        purge: (queue, ids) =>
          ids === undefined ? deadLetters.purge(queue) : deadLetters.purge(queue, ids).catch(() => 0),
      })
    },
  },

  'refuses messages after a purge': {
    caughtBy: ['admin: a purged queue accepts and delivers jobs'],
    breaks: () => (broker) => {
      const purged = new Set<string>()
      const withAdmin = alterAdmin(broker, {
        purge(queue) {
          purged.add(queue)
          return broker.admin.purge(queue)
        },
      })
      return alterBroker(withAdmin, {
        publish: async (batch) =>
          batch.some(({ queue }) => purged.has(queue))
            ? batch.map(() => ({ status: 'refused', error: new Error('no such queue') }))
            : broker.publish(batch),
      })
    },
  },

  'returns no findings': {
    caughtBy: ['admin: check finds a bad setting'],
    breaks: () => (broker) => alterAdmin(broker, { check: async () => [] }),
  },

  'drops the headers of requeued jobs': {
    caughtBy: [
      'dead letters: requeue with ids makes these jobs ready, unchanged, and keeps the rest',
      'dead letters: requeue without ids makes all jobs ready',
    ],
    breaks: requeuing((message) => ({ ...message, headers: {} })),
  },

  'drops the priority of requeued jobs': {
    caughtBy: [
      'dead letters: requeue with ids makes these jobs ready, unchanged, and keeps the rest',
      'dead letters: requeue without ids makes all jobs ready',
      'priorities: a released or requeued job is ahead of jobs with a lower priority',
    ],
    breaks: requeuing((message) => ({ ...message, priority: 4 })),
  },

  'returns findings without a message': {
    caughtBy: ['admin: check returns findings, and version is not empty'],
    breaks: () => (broker) => alterAdmin(broker, { check: async () => [{ level: 'problem', message: '' }] }),
  },
}

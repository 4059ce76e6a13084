import type { PublishResult, QueueSpec } from '@zyqueue/core/broker'
import { setTimeout as sleep } from 'node:timers/promises'
import { alterBroker, alterDeliveries } from '../alter.ts'
import { changingDeliveries, changingMessages, type Breaks, type Faults } from './fault.ts'

function cut(queue: QueueSpec): QueueSpec {
  return { ...queue, name: queue.name.slice(0, 64) }
}

const STORED_AT = 'receive: storedAtMs stays the same after a release and after a lost owner'
const NAMES = 'publish: queue names that differ in case, last byte or punctuation are different queues'

/** Renames queues in the engine and delivers jobs with their original queue names. */
function renamingQueues(rename: (name: string) => string): Breaks {
  return () => {
    const nameOfJob = new Map<string, string>()
    const renamed = (queue: QueueSpec): QueueSpec => ({ ...queue, name: rename(queue.name) })
    return (broker) => {
      const telling = alterDeliveries(broker, (delivery) => ({
        ...delivery,
        queue: nameOfJob.get(delivery.id) ?? delivery.queue,
      }))
      return alterBroker(telling, {
        declare: (queues) => broker.declare(queues.map(renamed)),
        publish(batch) {
          for (const { id, queue } of batch) nameOfJob.set(id, queue)
          return broker.publish(batch.map((message) => ({ ...message, queue: rename(message.queue) })))
        },
        consume: (options) => telling.consume({ ...options, queues: options.queues.map(renamed) }),
      })
    }
  }
}

function plain(queue: QueueSpec): QueueSpec {
  return { ...queue, options: {} }
}

/** Brokers with faults in stored messages. */
export const publishFaults: Faults = {
  'loses the last message of a batch': {
    caughtBy: [
      'publish: every message of a batch of maxBatch gets a result and arrives',
      'publish: a batch may contain messages for several queues',
    ],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await broker.publish(batch.length > 1 ? batch.slice(0, -1) : batch)
          return batch.map(() => ({ status: 'stored' }))
        },
      }),
  },

  'loses one of many small publishes': {
    caughtBy: ['publish: 200 concurrent publishes are all stored'],
    breaks: () => (broker) => {
      let published = 0
      return alterBroker(broker, {
        publish: async (batch) =>
          ++published % 4 === 0 ? batch.map(() => ({ status: 'stored' })) : broker.publish(batch),
      })
    },
  },

  'drops messages of the lowest priority': {
    caughtBy: ['priorities: jobs of every priority arrive'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await broker.publish(batch.filter(({ priority }) => priority > 0))
          return batch.map(() => ({ status: 'stored' }))
        },
      }),
  },

  'answers an empty batch with a result': {
    caughtBy: ['publish: an empty batch returns no results'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        publish: async (batch) => (batch.length === 0 ? [{ status: 'stored' }] : broker.publish(batch)),
      }),
  },

  'answers publishes in the wrong order': {
    caughtBy: ['publish: results are in the order of the messages, also if one is refused'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        publish: async (batch) => (await broker.publish(batch)).toSorted((a, b) => a.status.localeCompare(b.status)),
      }),
  },

  'answers publishes in reverse': {
    caughtBy: ['publish: results are in the order of the messages, also if one is refused'],
    breaks: () => (broker) =>
      alterBroker(broker, { publish: async (batch) => (await broker.publish(batch)).toReversed() }),
  },

  'refuses the whole batch for one message': {
    caughtBy: ['publish: results are in the order of the messages, also if one is refused'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          const tooLarge = batch.some((message) => message.body.byteLength > broker.capabilities.maxBodyBytes)
          return tooLarge ? batch.map(() => ({ status: 'refused', error: new Error() })) : broker.publish(batch)
        },
      }),
  },

  'accepts bodies of any size': {
    caughtBy: ['publish: a body of maxBodyBytes is stored, and one more byte is refused'],
    breaks: changingMessages((message) => ({ ...message, body: message.body.subarray(0, 16 * 1024 * 1024) })),
  },

  'stores a body as text': {
    caughtBy: [
      'publish: a body may contain any bytes',
      'delays: a delayed job keeps its body, headers, id and priority',
    ],
    breaks: changingMessages((message) => ({
      ...message,
      body: new TextEncoder().encode(new TextDecoder().decode(message.body)),
    })),
  },

  'stores the whole buffer of a body': {
    caughtBy: ['publish: a body contains no neighboring bytes of its buffer'],
    breaks: changingMessages((message) => ({ ...message, body: new Uint8Array(message.body.buffer) })),
  },

  'drops messages without a body': {
    caughtBy: ['publish: an empty body arrives empty or is refused'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await broker.publish(batch.filter(({ body }) => body.byteLength > 0))
          return batch.map(() => ({ status: 'stored' }))
        },
      }),
  },

  'reports messages as stored before it publishes them': {
    caughtBy: ['publish: changing the body and headers after publish does not change the stored message'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          setImmediate(() => void broker.publish(batch).catch(() => undefined))
          return batch.map(() => ({ status: 'stored' }))
        },
      }),
  },

  'drops headers': {
    caughtBy: ['publish: a message arrives unchanged', 'publish: headers arrive complete and have no prototype'],
    breaks: changingMessages((message) => ({ ...message, headers: {} })),
  },

  'gives headers a prototype': {
    caughtBy: ['publish: headers arrive complete and have no prototype'],
    breaks: changingDeliveries((delivery) => ({ ...delivery, headers: { ...delivery.headers } })),
  },

  'cuts ids': {
    caughtBy: ['publish: ids of up to 63 ASCII characters arrive unchanged'],
    breaks: changingMessages((message) => ({ ...message, id: message.id.slice(0, 40) })),
  },

  'cuts queue names': {
    caughtBy: ['publish: queue names may contain every character of task names'],
    breaks: () => (broker) => {
      return alterBroker(broker, {
        declare: (queues) => broker.declare(queues.map(cut)),
        publish: (batch) => broker.publish(batch.map((message) => ({ ...message, queue: message.queue.slice(0, 64) }))),
        consume: (options) => broker.consume({ ...options, queues: options.queues.map(cut) }),
      })
    },
  },

  'folds the case of queue names': {
    caughtBy: [NAMES],
    breaks: renamingQueues((name) => name.toLowerCase()),
  },

  'cuts queue names by a byte': { caughtBy: [NAMES], breaks: renamingQueues((name) => name.slice(0, 199)) },

  'replaces punctuation in queue names': {
    caughtBy: [NAMES],
    breaks: renamingQueues((name) => name.replace(/[^\p{L}\p{M}\d-]/gu, '_')),
  },

  'normalizes letters in queue names': {
    caughtBy: [NAMES],
    breaks: renamingQueues((name) => name.normalize()),
  },

  'stores a retried publish again': {
    caughtBy: ['publish: a message with the id of a stored message is not stored again'],
    breaks: () => {
      let published = 0
      return (broker) =>
        alterBroker(
          alterDeliveries(broker, (delivery) => ({ ...delivery, id: delivery.id.replace(/~\d+$/, '') })),
          { publish: (batch) => broker.publish(batch.map((each) => ({ ...each, id: `${each.id}~${++published}` }))) },
        )
    },
  },

  'refuses to declare again': {
    caughtBy: [
      'publish: repeated and concurrent declares keep the queue and its jobs',
      'publish: several brokers may declare a new queue at once',
    ],
    breaks: () => {
      const declared = new Set<string>()
      return (broker) =>
        alterBroker(broker, {
          async declare(queues) {
            await broker.declare(queues)
            await sleep(1)
            for (const { name } of queues) {
              if (declared.has(name)) throw new Error('declared already')
              declared.add(name)
            }
          },
        })
    },
  },

  'ignores unknown options': {
    caughtBy: [
      'publish: an unknown queue option is refused with ConfigError',
      'publish: an unknown message option is refused with ConfigError',
    ],
    breaks: () => (broker) => {
      return alterBroker(broker, {
        declare: (queues) => broker.declare(queues.map(plain)),
        consume: (options) => broker.consume({ ...options, queues: options.queues.map(plain) }),
        publish: (batch) => broker.publish(batch.map((message) => ({ ...message, options: {} }))),
      })
    },
  },

  'returns times in seconds': {
    caughtBy: [STORED_AT],
    breaks: changingDeliveries((delivery) => ({ ...delivery, storedAtMs: (delivery.storedAtMs ?? 0) / 1000 })),
  },

  'returns times of another time zone': {
    caughtBy: [STORED_AT],
    breaks: changingDeliveries((delivery) => ({ ...delivery, storedAtMs: (delivery.storedAtMs ?? 0) + 1_800_000 })),
  },

  'returns the time of the delivery as storedAtMs': {
    caughtBy: [STORED_AT],
    breaks: () => {
      let now = Date.now()
      return (broker) => alterDeliveries(broker, (delivery) => ({ ...delivery, storedAtMs: ++now }))
    },
  },

  'ignores priorities': {
    caughtBy: [
      'priorities: higher priorities arrive first, and earlier jobs first within a level',
      'priorities: a later job with a higher priority overtakes waiting jobs',
    ],
    breaks: changingMessages((message) => ({ ...message, priority: 4 })),
  },

  'returns another priority': {
    caughtBy: ['priorities: a delivery has its exact priority if there are ten levels'],
    breaks: changingDeliveries((delivery) => ({ ...delivery, priority: 9 - delivery.priority })),
  },

  'ignores delays': {
    caughtBy: [
      'delays: a delayed job arrives, and not early',
      'delays: a delayed job does not block other jobs',
      'delays: a short delay ends while longer ones, stored before and after it, continue',
      'delays: a job delayed by thirty days does not arrive early',
    ],
    breaks: changingMessages((message) => ({ ...message, delayMs: 0 })),
  },

  'delivers a delayed job too late if another one is shorter': {
    caughtBy: ['delays: two delays in one queue each end on time'],
    breaks: changingMessages((message) => ({
      ...message,
      delayMs: message.delayMs === 1500 ? 86_400_000 : message.delayMs,
    })),
  },

  'overflows at long delays': {
    caughtBy: ['delays: a job delayed by thirty days does not arrive early'],
    breaks: changingMessages((message) => ({
      ...message,
      delayMs: message.delayMs > 2 ** 31 - 1 ? 1 : message.delayMs,
    })),
  },

  'delivers no job before the delays of earlier ones have ended': {
    caughtBy: ['delays: a delayed job does not block other jobs'],
    breaks: () => (broker) => {
      let readyAt = 0
      return alterBroker(broker, {
        async publish(batch) {
          const results: PublishResult[] = []
          for (const message of batch) {
            readyAt = Math.max(readyAt, performance.now() + message.delayMs)
            const delayMs = Math.max(0, readyAt - performance.now())
            results.push(...(await broker.publish([{ ...message, delayMs }])))
          }
          return results
        },
      })
    },
  },

  'keeps delayed jobs in the memory of the publisher': {
    caughtBy: ['delays: a delay continues after the publishing broker was closed'],
    breaks: () => (broker) => {
      const timers = new Set<NodeJS.Timeout>()
      return alterBroker(broker, {
        async publish(batch) {
          for (const message of batch.filter(({ delayMs }) => delayMs > 0)) {
            const publish = (): void => void broker.publish([{ ...message, delayMs: 0 }]).catch(() => undefined)
            timers.add(setTimeout(publish, Math.min(message.delayMs, 2 ** 31 - 1)).unref())
          }
          await broker.publish(batch.filter(({ delayMs }) => delayMs === 0))
          return batch.map(() => ({ status: 'stored' }))
        },
        close() {
          for (const timer of timers) clearTimeout(timer)
          return broker.close()
        },
      })
    },
  },
}

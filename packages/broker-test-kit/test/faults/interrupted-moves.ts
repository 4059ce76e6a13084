import type { Broker, DeadLetter, OutboundMessage } from '@zyqueue/core/broker'
import { setTimeout as sleep } from 'node:timers/promises'
import { alterConsumers, alterDeadLetters, alterIds } from '../alter.ts'
import type { Faults } from './fault.ts'

/** Brokers that delete a job before they store it elsewhere, one after another. */
export const interruptedMoveFaults: Faults = {
  'deletes before it stores when it rejects': {
    caughtBy: ['interrupted moves: jobs that are rejected when the connection is cut are in their queue or dead'],
    breaks: () => {
      const letters: DeadLetter[] = []
      return (broker) => {
        let moved = 0
        const moving = alterConsumers(broker, (consumer) => ({
          async reject(all) {
            const results = await consumer.ack(all.map(({ delivery }) => delivery))
            await untilLost(broker, ++moved)
            letters.push(...all.map(({ delivery, reason }) => ({ ...delivery, reason })))
            return results
          },
        }))
        return alterDeadLetters(moving, { list: async (name) => letters.filter(({ queue }) => queue === name) })
      }
    },
  },

  'deletes before it stores when it releases': {
    caughtBy: ['interrupted moves: jobs that are released when the connection is cut are in their queue'],
    breaks: () => (memory) => {
      const { broker, storeCopies } = alterIds(memory)
      let moved = 0
      return alterConsumers(broker, (consumer) => ({
        async release(all) {
          const results = await consumer.ack(all.map(({ delivery }) => delivery))
          await untilLost(broker, ++moved)
          await storeCopies(all.map(({ delivery, delayMs }) => ({ ...delivery, delayMs })))
          return results
        },
      }))
    },
  },

  'deletes before it stores when it requeues': {
    caughtBy: [
      'interrupted moves: dead letters that are requeued when the connection is cut are in their queue or dead',
    ],
    breaks: () => (memory) => {
      let moved = 0
      const { broker, storeCopies } = alterIds(memory)
      const { deadLetters } = broker.admin
      return alterDeadLetters(broker, {
        async requeue(queue, ids = []) {
          const letters = await deadLetters.list(queue, { limit: 1000 })
          const messages = letters
            .filter(({ id }) => ids.includes(id))
            .map((letter): OutboundMessage => ({ ...letter, delayMs: 0, priority: 4 }))
          await deadLetters.purge(queue, ids)
          await untilLost(broker, ++moved)
          await storeCopies(messages)
          return messages.length
        },
      })
    },
  },
}

/**
 * What happens between a deletion and what is stored: the first takes a moment, for the suite to see how long a call takes; the
 * others are under way when the connection is cut, however late the timers of this process are. Rejects then.
 */
async function untilLost(broker: Broker, moved: number): Promise<void> {
  const mostMs = moved === 1 ? 1 : 10_000
  for (const since = performance.now(); performance.now() - since < mostMs;) {
    await sleep(1)
    await broker.admin.version()
  }
}

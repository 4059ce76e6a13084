import type { Broker, DeadLetter, OutboundMessage } from '@zyqueue/core/broker'
import { setTimeout as sleep } from 'node:timers/promises'
import { alterConsumers, alterDeadLetters, alterIds } from '../alter.ts'
import type { Faults } from './fault.ts'

/** Brokers that delete a job before they store its copy. */
export const interruptedMoveFaults: Faults = {
  'deletes a rejected job before it stores the dead letter': {
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

  'deletes a released job before it stores the copy': {
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

  'deletes a dead letter before it stores the job': {
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
 * Waits between the deletion and the store. The first call waits a moment, because the suite measures its duration. The others
 * wait until the connection is cut, and reject then.
 */
async function untilLost(broker: Broker, moved: number): Promise<void> {
  const mostMs = moved === 1 ? 1 : 10_000
  for (const since = performance.now(); performance.now() - since < mostMs;) {
    await sleep(1)
    await broker.admin.version()
  }
}

import type { DeadLetter, OutboundMessage } from '@zyqueue/core/broker'
import { setTimeout as sleep } from 'node:timers/promises'
import { alteredConsumers, alteredDeadLetters, alteredIds } from '../altered.ts'
import type { Faults } from './fault.ts'

/** Brokers that delete a job before they store it elsewhere, one after another. */
export const interruptedMoveFaults: Faults = {
  'deletes before it stores when it rejects': {
    caughtBy: ['interrupted moves: jobs that are rejected when the connection is cut are in their queue or dead'],
    breaks: () => {
      const letters: DeadLetter[] = []
      return (broker) => {
        let moved = 0
        const moving = alteredConsumers(broker, (consumer) => ({
          async reject(all) {
            const results = await consumer.ack(all.map(({ delivery }) => delivery))
            await sleep(++moved)
            // If the connection is lost meanwhile, this rejects.
            await broker.admin.version()
            letters.push(...all.map(({ delivery, reason }) => ({ ...delivery, reason })))
            return results
          },
        }))
        return alteredDeadLetters(moving, { list: async (name) => letters.filter(({ queue }) => queue === name) })
      }
    },
  },

  'deletes before it stores when it releases': {
    caughtBy: ['interrupted moves: jobs that are released when the connection is cut are in their queue'],
    breaks: () => (memory) => {
      const { broker, storeAnew } = alteredIds(memory)
      let moved = 0
      return alteredConsumers(broker, (consumer) => ({
        async release(all) {
          const results = await consumer.ack(all.map(({ delivery }) => delivery))
          await sleep(++moved)
          await storeAnew(all.map(({ delivery, delayMs }) => ({ ...delivery, delayMs })))
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
      const { broker, storeAnew } = alteredIds(memory)
      const { deadLetters } = broker.admin
      return alteredDeadLetters(broker, {
        async requeue(queue, ids = []) {
          const letters = await deadLetters.list(queue, { limit: 1000 })
          const messages = letters
            .filter(({ id }) => ids.includes(id))
            .map((letter): OutboundMessage => ({ ...letter, delayMs: 0, priority: 4 }))
          await deadLetters.purge(queue, ids)
          await sleep(++moved)
          await storeAnew(messages)
          return messages.length
        },
      })
    },
  },
}

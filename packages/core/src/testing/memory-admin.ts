import type { BrokerAdmin, DeadLetters } from '../contract/index.ts'
import { storedJob } from './memory-queue.ts'
import type { MemoryStore } from './memory-store.ts'

/** The administration of a store. `assertOpen` throws if its broker is not open. */
export function createMemoryAdmin(store: MemoryStore, assertOpen: () => void): BrokerAdmin {
  const deadLetters: DeadLetters = {
    async list(name, { limit }) {
      assertOpen()
      return store.queue(name).deadLetters(limit)
    },
    async requeue(name, ids) {
      assertOpen()
      const queue = store.queue(name)
      const count = queue.requeueDead(ids)
      queue.wake()
      return count
    },
    async purge(name, ids) {
      assertOpen()
      return store.queue(name).purgeDead(ids)
    },
  }

  return {
    deadLetters,
    async queues(names) {
      assertOpen()
      const all = store.queues()
      const wanted = names === undefined ? all : all.filter(({ name }) => names.includes(name))
      return wanted.map((queue) => queue.stats())
    },
    async workers() {
      assertOpen()
      return store.consumers().map(({ id, client, queues, active, connectedAtMs }) => ({
        id,
        client,
        queues: queues.map((queue) => queue.name),
        active,
        connectedAtMs,
      }))
    },
    async purge(name) {
      assertOpen()
      return store.queue(name).purge()
    },
    async jobs(name, { limit }) {
      assertOpen()
      const queue = store.queue(name)
      const active = store.consumers().flatMap((consumer) => consumer.jobsOf(queue))
      return [...active.map(storedJob('active')), ...queue.waiting()].slice(0, limit)
    },
    async cancel(name, ids) {
      assertOpen()
      return store.queue(name).cancel(ids)
    },
    async promote(name, ids) {
      assertOpen()
      const queue = store.queue(name)
      const count = queue.promote(ids)
      queue.wake()
      return count
    },
    async check() {
      assertOpen()
      return []
    },
    async version() {
      assertOpen()
      return `Node.js ${process.versions.node}`
    },
  }
}

import type { BrokerPlugin } from '../contract/index.ts'
import { ConfigError } from '../errors.ts'
import { systemClock, type Clock } from './clock.ts'
import { createMemoryBroker } from './memory-broker.ts'
import { createMemoryStore, type MemoryStore } from './memory-store.ts'

/** The named stores of each clock. They live as long as the process or their clock. */
const storesOf = new WeakMap<Clock, Map<string, MemoryStore>>()

function storeNamed(name: string, clock: Clock): MemoryStore {
  const stores = storesOf.get(clock) ?? new Map<string, MemoryStore>()
  storesOf.set(clock, stores)
  const store = stores.get(name) ?? createMemoryStore({ clock })
  stores.set(name, store)
  return store
}

/**
 * The in-memory broker as a plugin. `memory:NAME` is the store with this name and clock in this process. `memory:` and an
 * absent connection are the store without a name.
 */
export function memoryBroker(options: { readonly clock?: Clock } = {}): BrokerPlugin {
  const clock = options.clock ?? systemClock
  return {
    kind: 'zyqueue.broker',
    apiVersion: 2,
    name: 'memory',
    schemes: ['memory'],
    create({ connection = 'memory:' }) {
      const name = /^memory:([\w.-]*)$/.exec(connection)?.[1]
      if (name === undefined) {
        throw new ConfigError(
          'ZYQ_CONNECTION_STRING',
          'The memory broker reads `memory:NAME`, with a name of letters, digits, `_`, `.` and `-`.',
        )
      }
      return createMemoryBroker(storeNamed(name, clock))
    },
  }
}

import { createMemoryBroker, createMemoryStore, memoryBroker } from '@zyqueue/core/testing'
import { test } from 'vitest'
import { brokerTests, pluginTests } from '../src/index.ts'

const store = createMemoryStore()

brokerTests({
  test: test.concurrent,
  createBroker: () => createMemoryBroker(store),
  sample: createMemoryBroker(),
  leaseMs: 300,
})
pluginTests({ test, plugin: memoryBroker() })

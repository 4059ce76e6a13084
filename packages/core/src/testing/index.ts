/** For tests of programs that use ZyQueue: a broker without a server, and a clock that tests advance. */
export { createVirtualClock, systemClock, type Clock, type VirtualClock } from './clock.ts'
export { createMemoryBroker } from './memory-broker.ts'
export { memoryBroker } from './memory-plugin.ts'
export { createMemoryStore, type MemoryStore } from './memory-store.ts'
export { createTestQueue, type TestJob, type TestQueue, type TestQueueOptions } from './test-queue.ts'

import type { Broker } from '@zyqueue/core/broker'
import { createMemoryBroker, createMemoryStore } from '@zyqueue/core/testing'
import { describe, expect, test } from 'vitest'
import { brokerTests } from '../src/index.ts'
import { alteredAdmin } from './altered.ts'
import { adminFaults } from './faults/admin.ts'
import { callFaults } from './faults/calls.ts'
import type { Breaks, Faults } from './faults/fault.ts'
import { interruptedMoveFaults } from './faults/interrupted-moves.ts'
import { leaseFaults } from './faults/leases.ts'
import { lifecycleFaults } from './faults/lifecycle.ts'
import { lostConnectionFaults } from './faults/lost-connections.ts'
import { publishFaults } from './faults/publish.ts'
import { receiveFaults } from './faults/receive.ts'
import { settleFaults } from './faults/settle.ts'

const faults: Faults = {
  ...lifecycleFaults,
  ...publishFaults,
  ...receiveFaults,
  ...settleFaults,
  ...leaseFaults,
  ...callFaults,
  ...adminFaults,
  ...lostConnectionFaults,
  ...interruptedMoveFaults,
}

/** In memory there is nothing that an operator should know: here there is. */
function memoryWithFinding(): Broker {
  return alteredAdmin(createMemoryBroker(), { check: async () => [{ level: 'note', message: 'known to the harness' }] })
}

/** The suite bound to brokers that are broken in one way, for another runner than the one that runs this. */
function suiteOf(breaks: Breaks): ReadonlyMap<string, () => Promise<void>> {
  const store = createMemoryStore()
  const broken = breaks()
  const suite = new Map<string, () => Promise<void>>()
  const memories = new Map<Broker, Broker>()
  // In memory there is no connection: what is closed behind the broken one's back is as good as lost.
  const lose = (broker: Broker): Promise<void> | undefined => memories.get(broker)?.close()
  brokerTests({
    test: (name, body) => suite.set(name, body),
    createBroker() {
      const memory = createMemoryBroker(store)
      const broker = broken(memory)
      memories.set(broker, memory)
      return broker
    },
    sample: broken(createMemoryBroker()),
    killConnection: lose,
    stallConnection: lose,
    brokerWithFinding: () => broken(memoryWithFinding()),
    report: () => undefined,
    leaseMs: 400,
    patienceMs: 2500,
  })
  return suite
}

describe.concurrent('the suite catches', () => {
  for (const [fault, { caughtBy, breaks }] of Object.entries(faults)) {
    test(`a broker that ${fault}`, async () => {
      const suite = suiteOf(breaks)
      const outcomes = await Promise.allSettled(caughtBy.map(async (name) => suite.get(name)?.()))
      const passed = caughtBy.filter((_, index) => outcomes[index]?.status === 'fulfilled')
      expect(passed, 'tests that should have failed').toEqual([])
    })
  }
})

test('no two tests have one name, and each has a fault that it catches', () => {
  const names: string[] = []
  const lose = (): void => undefined
  brokerTests({
    test: (name) => names.push(name),
    createBroker: () => createMemoryBroker(),
    sample: createMemoryBroker(),
    brokerWithFinding: memoryWithFinding,
    killConnection: lose,
    stallConnection: lose,
  })
  expect(new Set(names).size).toBe(names.length)
  const caught = new Set(Object.values(faults).flatMap(({ caughtBy }) => caughtBy))
  expect(names.filter((name) => !caught.has(name))).toEqual([])
})

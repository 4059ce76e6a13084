import { describe, expect, test } from 'vitest'
import { brokerTests } from '../src/index.ts'
import { adminFaults } from './faults/admin.ts'
import { callFaults } from './faults/calls.ts'
import type { Breaks, Faults } from './faults/fault.ts'
import { interruptedMoveFaults } from './faults/interrupted-moves.ts'
import { leaseFaults } from './faults/leases.ts'
import { lifecycleFaults } from './faults/lifecycle.ts'
import { lostAnswerFaults } from './faults/lost-answers.ts'
import { lostConnectionFaults } from './faults/lost-connections.ts'
import { memoryFaults } from './faults/memory.ts'
import { publishFaults } from './faults/publish.ts'
import { receiveFaults } from './faults/receive.ts'
import { reconnectingFaults } from './faults/reconnecting.ts'
import { restartFaults } from './faults/restarts.ts'
import { settleFaults } from './faults/settle.ts'
import { unreadableJobFaults } from './faults/unreadable-jobs.ts'
import { MemoryEngine } from './memory-engine.ts'

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
  ...reconnectingFaults,
  ...lostAnswerFaults,
  ...restartFaults,
  ...unreadableJobFaults,
}

/** The tests of the suite for brokers with one fault, by name. */
function suiteOf(breaks: Breaks): ReadonlyMap<string, () => Promise<void>> {
  const suite = new Map<string, () => Promise<void>>()
  const { hooks } = new MemoryEngine(breaks())
  brokerTests({ test: (name, body) => suite.set(name, body), ...hooks, leaseMs: 400, timeoutMs: 2500 })
  return suite
}

function expectCaught(faultsOfKind: Faults): void {
  for (const [fault, { caughtBy, breaks }] of Object.entries(faultsOfKind)) {
    test(`a broker that ${fault}`, async () => {
      const suite = suiteOf(breaks)
      const outcomes = await Promise.allSettled(caughtBy.map(async (name) => suite.get(name)?.()))
      const passed = caughtBy.filter((_, index) => outcomes[index]?.status === 'fulfilled')
      expect(passed, 'tests that should have failed').toEqual([])
    })
  }
}

describe.concurrent('the suite catches', () => expectCaught(faults))
// Other tests must not create or release objects meanwhile.
describe.sequential('the suite catches', () => expectCaught(memoryFaults))

/** Error messages, by the fault and the test that catches it. */
const messages: readonly (readonly [fault: string, caughtBy: string, message: RegExp])[] = [
  [
    'answers settlements in reverse',
    'settle: results are in the order of the deliveries, also if one is lease-lost',
    /^ack\(\): result 1 of 4, of the job [\w-]+ \("1"\) of the queue kit-[\w-]+, is ok instead of lease-lost/,
  ],
  [
    'loses the last message of a batch',
    'receive: the queues of a consumer share one prefetch',
    /: 4 deliveries of kit-[\w-]+, kit-[\w-]+; [0-3] arrived|: 2 deliveries of kit-[\w-]+, kit-[\w-]+; 0 arrived/,
  ],
  [
    'deletes a rejected job before it stores the dead letter',
    'interrupted moves: jobs that are rejected when the connection is cut are in their queue or dead',
    /all jobs are found; missing:\n {2}\d+: the job [\w-]+ \("\d+"\) of the queue kit-/,
  ],
  ['answers an empty batch with a result', 'publish: an empty batch returns no results', /Queues of this test: none$/],
]

describe.concurrent('an error names the call, the job and the queue', () => {
  for (const [fault, caughtBy, message] of messages) {
    test(`a broker that ${fault}`, async () => {
      const breaks = faults[fault]?.breaks
      expect(breaks).toBeDefined()
      await expect(breaks && suiteOf(breaks).get(caughtBy)?.()).rejects.toThrow(message)
    })
  }
})

test('test names are unique, and each test catches a fault', () => {
  const names: string[] = []
  brokerTests({ test: (name) => names.push(name), ...new MemoryEngine().hooks })
  expect(new Set(names).size).toBe(names.length)
  const caught = new Set(Object.values({ ...faults, ...memoryFaults }).flatMap(({ caughtBy }) => caughtBy))
  expect(names.filter((name) => !caught.has(name))).toEqual([])
})

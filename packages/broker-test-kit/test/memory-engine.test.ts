import { describe, test } from 'vitest'
import { brokerTests } from '../src/index.ts'
import { MemoryEngine } from './memory-engine.ts'

/** With leases that are connections, and in all other themes, `limited-brokers.test.ts` runs on such an engine. */
const THEMES =
  /^(cut connections|silent connections|reconnecting|lost answers|open connections|unreadable jobs|restarts): /

describe('brokers of an engine in memory', () => {
  brokerTests({
    test: (name, body) => THEMES.test(name) && test(name, body),
    ...new MemoryEngine().hooks,
    leaseMs: 300,
  })
})

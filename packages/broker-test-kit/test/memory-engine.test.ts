import { describe, test } from 'vitest'
import { brokerTests } from '../src/index.ts'
import { MemoryEngine } from './memory-engine.ts'

/** `limited-brokers.test.ts` runs all themes on such an engine, with connection leases. */
const THEMES =
  /^(cut connections|silent connections|reconnecting|lost answers|open connections|unreadable jobs|restarts|interrupted moves|summary): /

describe('brokers of an engine in memory', () => {
  brokerTests({
    test: (name, body) => THEMES.test(name) && test(name, body),
    ...new MemoryEngine().hooks,
    leaseMs: 300,
  })
})

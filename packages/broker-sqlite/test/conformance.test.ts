import { brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import plugin from '../src/index.ts'

const baseDir = mkdtempSync(join(tmpdir(), 'zyqueue-conformance-'))
afterAll(() => rmSync(baseDir, { recursive: true, force: true }))

const createBroker = (): Broker => plugin.create({ connection: `sqlite:${join(baseDir, 'queue.db')}`, baseDir })

brokerTests({
  test,
  createBroker,
  sample: createBroker(),
  brokerWithFinding: () => plugin.create({ connection: 'sqlite::memory:', baseDir }),
  patienceMs: 30_000,
})
pluginTests({ test, plugin })

import { brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import plugin from '../src/index.ts'

const baseDir = mkdtempSync(join(tmpdir(), 'zyqueue-conformance-'))
afterAll(() => rmSync(baseDir, { recursive: true, force: true }))

brokerTests({
  test,
  createBroker: () => plugin.create({ connection: `sqlite:${join(baseDir, 'queue.db')}`, baseDir }),
  patienceMs: 30_000,
})
pluginTests({ test, plugin })

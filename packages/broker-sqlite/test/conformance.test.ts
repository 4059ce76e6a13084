import { brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import type { Broker } from '@zyqueue/core/broker'
import plugin from '../src/index.ts'

const baseDir = mkdtempSync(join(tmpdir(), 'zyqueue-conformance-'))
afterAll(() => rmSync(baseDir, { recursive: true, force: true }))

const brokers: Broker[] = []

brokerTests({
  test,
  createBroker() {
    const broker = plugin.create({ connection: `sqlite:${join(baseDir, 'queue.db')}`, baseDir })
    brokers.push(broker)
    return broker
  },
  // There is no server: SQLite starts again when the last that had the file open has closed it.
  restart: async () => void (await Promise.all(brokers.map((broker) => broker.close()))),
  patienceMs: 30_000,
})
pluginTests({ test, plugin })

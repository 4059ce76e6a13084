import { brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import plugin from '../src/index.ts'

const baseDir = mkdtempSync(join(tmpdir(), 'zyqueue-conformance-'))
afterAll(() => rmSync(baseDir, { recursive: true, force: true }))

const brokers: Broker[] = []

function createBroker(): Broker {
  const broker = plugin.create({ connection: `sqlite:${join(baseDir, 'queue.db')}`, baseDir })
  brokers.push(broker)
  return broker
}

brokerTests({
  test,
  createBroker,
  sample: plugin.create({ connection: `sqlite:${join(baseDir, 'queue.db')}`, baseDir }),
  // There is no server: SQLite starts again when the last that had the file open has closed it.
  restart: async () => void (await Promise.all(brokers.map((broker) => broker.close()))),
  brokerWithFinding: () => plugin.create({ connection: 'sqlite::memory:', baseDir }),
  patienceMs: 30_000,
})
pluginTests({ test, plugin })

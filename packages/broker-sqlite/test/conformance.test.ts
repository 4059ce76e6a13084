import { brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import { drivers } from '../src/driver.ts'
import plugin from '../src/index.ts'

const baseDir = mkdtempSync(join(tmpdir(), 'zyqueue-conformance-'))
afterAll(() => rmSync(baseDir, { recursive: true, force: true }))

const brokers: Broker[] = []

function createBroker(): Broker {
  const broker = plugin.create({ connection: `sqlite:${join(baseDir, 'queue.db')}`, baseDir })
  brokers.push(broker)
  return broker
}

/** A row that was damaged, or that another program wrote. */
const UNREADABLE = Buffer.from('job\n[]')

async function storeUnreadable(queue: string): Promise<Uint8Array> {
  const connection = drivers()[0].open(join(baseDir, 'queue.db'))
  try {
    const insert = `INSERT INTO job SELECT coalesce((SELECT max(seq) FROM job), 0) + 1, id, 5, 0, 0, ?2 FROM queue WHERE name = ?1`
    connection.prepare(insert).run([queue, UNREADABLE])
    connection.exec('INSERT INTO ready SELECT queue, rank, seq FROM job ORDER BY seq DESC LIMIT 1')
  } finally {
    connection.close()
  }
  return UNREADABLE
}

brokerTests({
  test,
  createBroker,
  sample: plugin.create({ connection: `sqlite:${join(baseDir, 'queue.db')}`, baseDir }),
  // There is no server: SQLite starts again after all brokers have closed the file.
  restart: async () => void (await Promise.all(brokers.map((broker) => broker.close()))),
  storeUnreadable,
  brokerWithFinding: () => plugin.create({ connection: 'sqlite::memory:', baseDir }),
  timeoutMs: 30_000,
})
pluginTests({ test, plugin })

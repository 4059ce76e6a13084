import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { SqliteBroker } from '../src/broker.ts'
import { drivers, type Driver, type Statement } from '../src/driver.ts'
import { SQLITE } from '../src/errors.ts'
import {
  consume,
  eventually,
  exitOf,
  message,
  openBroker,
  receive,
  startChildWithSmallFiles,
  temporaryFolder,
} from './support.ts'

const never = new AbortController().signal
const UNKNOWN = { status: 'unknown', error: expect.objectContaining({ code: 'ZYQ_OUTCOME_UNKNOWN' }) }
/** Per file, in units of 512 or 1,024 bytes. The `-wal` file of the child reaches it first. */
const MAX_FILE_BLOCKS = 500

interface Report {
  readonly held?: readonly string[]
  readonly id?: string
  readonly status?: string
  readonly acked?: readonly string[]
  readonly ackedAgain?: readonly string[]
  readonly receiveCode?: string
}

async function drain(broker: SqliteBroker): Promise<readonly string[]> {
  const [{ ready = 0 } = {}] = await broker.admin.queues()
  const consumer = await consume(broker, { consumerId: 'drain' })
  const deliveries = await receive(consumer, ready)
  expect(await consumer.ack(deliveries)).toEqual(deliveries.map(() => ({ status: 'ok' })))
  return deliveries.map(({ id }) => id).toSorted()
}

test('on a disk that fails, each job reported as stored is in the file, and all others are unknown', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const first = await openBroker(path)
  const before = Array.from({ length: 10 }, (_, index) => `before-${index}`)
  await first.publish(before.map((id) => message(id)))
  await first.close()

  const { child, said } = startChildWithSmallFiles('failing-disk', MAX_FILE_BLOCKS, path)
  await exitOf(child)
  const reportsOf = (): readonly Report[] => said.map((report): Report => Object(report))
  await eventually(() => reportsOf().at(-1)?.receiveCode !== undefined)
  const reports = reportsOf()
  expect(reports[0]).toEqual({ held: before })
  const published = reports.filter(({ id }) => id !== undefined)
  const ofStatus = (status: string) => published.filter((each) => each.status === status).map(({ id }) => id)
  const stored = ofStatus('stored')
  const unknown = ofStatus('unknown')
  expect(stored.length).toBeGreaterThan(0)
  expect(unknown.length).toBeGreaterThan(0)
  expect(stored.length + unknown.length).toBe(published.length)
  // The consumer ends, so that core opens another one, and never settles a job again whose settlement is in doubt.
  expect(reports.slice(-3)).toEqual([
    { acked: before.map(() => 'unknown') },
    { ackedAgain: before.map(() => 'lease-lost') },
    { receiveCode: 'ZYQ_LEASE_LOST' },
  ])

  const broker = await openBroker(path)
  await broker.leases.reclaim('child', [])
  const found = await drain(broker)
  expect(found).toEqual(expect.arrayContaining(stored))
  const known = new Set([...stored, ...unknown, ...before])
  expect(found.filter((id) => !known.has(id))).toEqual([])
  expect(new Set(found).size).toBe(found.length)
})

/** A driver that reports a failed commit although the file has the change, as after a failed flush. */
class FailingFlush implements Driver {
  readonly name: Driver['name']
  isFailing = false
  readonly #driver: Driver

  constructor(driver: Driver) {
    this.#driver = driver
    this.name = driver.name
  }

  open(location: string): ReturnType<Driver['open']> {
    const connection = this.#driver.open(location)
    return {
      exec: (sql) => connection.exec(sql),
      close: () => connection.close(),
      prepare: (sql) => (sql === 'COMMIT' ? this.#failing(connection.prepare(sql)) : connection.prepare(sql)),
    }
  }

  #failing(statement: Statement): Statement {
    return {
      all: (parameters) => statement.all(parameters),
      run: (parameters) => {
        const changes = statement.run(parameters)
        if (this.isFailing) throw Object.assign(new Error('disk I/O error'), { errcode: SQLITE.IOERR })
        return changes
      },
    }
  }
}

describe.each(drivers())('a commit that succeeded and was reported as failed ($name)', (native) => {
  async function open(): Promise<{ path: string; driver: FailingFlush; broker: SqliteBroker }> {
    const path = join(temporaryFolder(), 'queue.db')
    const driver = new FailingFlush(native)
    const broker = await openBroker(path, driver)
    return { path, driver, broker }
  }

  test('all jobs of its transaction are unknown, and no later job', async () => {
    const { path, driver, broker } = await open()
    driver.isFailing = true
    const results = await Promise.all(['a', 'b'].map((id) => broker.publish([message(id)])))
    expect(results).toEqual([[UNKNOWN], [UNKNOWN]])
    driver.isFailing = false
    expect(await broker.publish([message('c')])).toEqual([{ status: 'stored' }])
    expect(await drain(await openBroker(path, native))).toEqual(['a', 'b', 'c'])
  })

  test('an acked job is unknown, its consumer ends, and its other jobs return', async () => {
    const { path, driver, broker } = await open()
    await broker.publish(['acked', 'held'].map((id) => message(id)))
    const consumer = await consume(broker)
    const acked = await receive(consumer, 1)
    await receive(consumer, 1)
    driver.isFailing = true
    expect(await consumer.ack(acked)).toEqual([UNKNOWN])
    driver.isFailing = false
    expect(await consumer.ack(acked)).toEqual([{ status: 'lease-lost' }])
    await expect(consumer.receive(1, { signal: never })).rejects.toMatchObject({ code: 'ZYQ_LEASE_LOST' })
    await consumer.close()
    expect(await drain(await openBroker(path, native))).toEqual(['held'])
  })

  test('a claim ends its consumer, and the jobs return', async () => {
    const { driver, broker } = await open()
    await broker.publish([message('a')])
    const consumer = await consume(broker)
    driver.isFailing = true
    await expect(consumer.receive(1, { signal: never })).rejects.toMatchObject({ code: 'ZYQ_LEASE_LOST' })
    driver.isFailing = false
    await consumer.close()
    await eventually(async () => (await broker.admin.queues()).some(({ ready }) => ready === 1))
    expect(await drain(broker)).toEqual(['a'])
  })
})

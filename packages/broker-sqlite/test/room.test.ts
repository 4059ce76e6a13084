import { spawnSync } from 'node:child_process'
import { appendFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { SqliteBroker } from '../src/broker.ts'
import { drivers } from '../src/driver.ts'
import { consume, eventually, exitOf, message, openBroker, receive, startChild, temporaryFolder } from './support.ts'

const AS_ROOT = process.getuid?.() === 0 ? [] : ['sudo', '-n']
const DISK_TESTS = 'a disk that is full'

function asRoot(...command: readonly string[]): boolean {
  const [program = '', ...rest] = [...AS_ROOT, ...command]
  return spawnSync(program, rest).status === 0
}

/** A folder with room for `size`, until the test ends. */
function smallDisk(size: string): string {
  const folder = temporaryFolder()
  if (!asRoot('mount', '-t', 'tmpfs', '-o', `size=${size},mode=1777`, 'tmpfs', folder)) {
    throw new Error(`Cannot mount a small disk at ${folder}`)
  }
  onTestFinished(() => void asRoot('umount', '-l', folder))
  return folder
}

function canMount(): boolean {
  return asRoot('unshare', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/tmp')
}

/** Publishes batches until ten in a row are refused because the disk is full. Resolves to the ids of the stored jobs. */
async function fill(broker: SqliteBroker, size: { batch: number; bytes: number }): Promise<readonly string[]> {
  const stored: string[] = []
  const body = new Uint8Array(size.bytes)
  for (let batch = 0, refused = 0; refused < 10; batch++) {
    const ids = Array.from({ length: size.batch }, (_, index) => `${batch}-${index}`)
    const results = await broker.publish(ids.map((id) => message(id, { body })))
    for (const [index, result] of results.entries()) {
      if (result.status === 'stored') stored.push(ids[index] ?? '')
      else expect(broker.errorCode(result.error)).toBe('ZYQ_BROKER_FULL')
    }
    refused = results.some(({ status }) => status === 'stored') ? 0 : refused + 1
  }
  return stored
}

/** Receives and acks all jobs, and resolves to their ids. */
async function drain(broker: SqliteBroker): Promise<readonly string[]> {
  const consumer = await consume(broker, { consumerId: 'drain', prefetch: 100 })
  const ids: string[] = []
  const left = async (): Promise<number> => (await broker.admin.queues())[0]?.ready ?? 0
  for (let ready = await left(); ready > 0; ready = await left()) {
    const deliveries = await receive(consumer, Math.min(100, ready))
    expect(await consumer.ack(deliveries)).toEqual(deliveries.map(() => ({ status: 'ok' })))
    ids.push(...deliveries.map(({ id }) => id))
  }
  await consumer.close()
  return ids
}

function diskTests(): void {
  // The preferred driver of each Node version: they differ only in how they report a full disk.
  const [driver] = drivers()
  describe(driver.name, () => {
    test.each([
      { disk: '1m', batch: 1, bytes: 1000 },
      { disk: '3m', batch: 1, bytes: 100_000 },
      { disk: '20m', batch: 50, bytes: 3000 },
    ])(
      'of $disk, by $batch jobs of $bytes bytes at once: workers finish them all, and it takes jobs again',
      async (size) => {
        const path = join(smallDisk(size.disk), 'queue.db')
        const broker = await openBroker(path, driver)
        for (let round = 0; round < 2; round++) {
          const stored = await fill(broker, size)
          expect(stored.length).toBeGreaterThan(0)
          if (round === 0) expect(statSync(path).size).toBeGreaterThan(statSync(`${path}-wal`).size)
          expect([...(await drain(broker))].sort()).toEqual([...stored].sort())
        }
      },
    )

    test('by other files: stored jobs stay, and the same consumer continues when there is room', async () => {
      const folder = smallDisk('3m')
      const broker = await openBroker(join(folder, 'queue.db'), driver)
      const consumer = await consume(broker)
      const before = Array.from({ length: 200 }, (_, index) => `before-${index}`)
      for (const id of before) expect(await broker.publish([message(id)])).toEqual([{ status: 'stored' }])
      const held = await receive(consumer, 50)
      fillUp(join(folder, 'theirs'))

      const stored = await fill(broker, { batch: 1, bytes: 100 })
      const taken = await consumer.receive(10, { signal: new AbortController().signal }).catch(() => [])
      const acked = await consumer.ack(held)
      rmSync(join(folder, 'theirs'))

      const settled = acked.every(({ status }) => status === 'ok') ? acked : await consumer.ack(held)
      expect(settled).toEqual(held.map(() => ({ status: 'ok' })))
      expect(await broker.publish([message('after')])).toEqual([{ status: 'stored' }])
      const left = before.length + stored.length + 1 - held.length - taken.length
      const rest = await receive(consumer, left)
      expect(await consumer.ack([...taken, ...rest])).toHaveLength(left + taken.length)
      const ids = [...held, ...taken, ...rest].map(({ id }) => id)
      expect(ids.sort()).toEqual([...before, ...stored, 'after'].sort())
    })

    test('with a job that is too large: only that job is refused', async () => {
      const broker = await openBroker(join(smallDisk('1m'), 'queue.db'), driver)
      const large = message('large', { body: new Uint8Array(2_000_000) })
      const results = await Promise.all([[message('a')], [large], [message('b')]].map((batch) => broker.publish(batch)))
      expect(results.flat().map(({ status }) => status)).toEqual(['stored', 'refused', 'stored'])
      expect(await drain(broker)).toEqual(['a', 'b'])
    })
  })

  test('and its publisher is killed: no job that was reported as stored is lost', async () => {
    const path = join(smallDisk('1m'), 'queue.db')
    const { child, said } = startChild('publisher', path, 'killed')
    await eventually(() => said.slice(-10).length === 10 && said.slice(-10).flat().length === 0)
    child.kill('SIGKILL')
    await exitOf(child)
    const ids = await drain(await openBroker(path))
    expect([...ids].sort()).toEqual(said.flat().map(String).sort())
  })
}

function fillUp(path: string): void {
  for (const bytes of [65_536, 4096, 1]) {
    try {
      for (;;) appendFileSync(path, Buffer.alloc(bytes))
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' })
    }
  }
}

if (canMount()) describe(DISK_TESTS, diskTests)
else if (process.env['CI'] === 'true') test(DISK_TESTS, () => expect.fail('a small disk can be mounted by root only'))
else describe.skip(`${DISK_TESTS} (a small disk can be mounted by root only)`, diskTests)

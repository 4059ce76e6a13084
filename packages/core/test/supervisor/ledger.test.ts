import { closeSync, fstatSync, ftruncateSync, mkdtempSync, readdirSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Ledger, openLedgerFile, readLedger, type LedgerEntry } from '../../src/supervisor/ledger.ts'

const SLOTS = 5

const entryArbitrary: fc.Arbitrary<LedgerEntry> = fc.record({
  consumerId: fc.string({ unit: 'grapheme', maxLength: 60 }),
  jobId: fc.string({ unit: 'grapheme', maxLength: 60 }),
  started: fc.boolean(),
  deadlineMs: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
})

function openFile(): number {
  const file = openLedgerFile()
  onTestFinished(async () => {
    // A late flush of a ledger would write to another file with the same descriptor.
    await new Promise(setImmediate)
    closeSync(file)
  })
  return file
}

/** Cuts an id to 255 bytes of UTF-8, whole characters only. */
function cut(id: string): string {
  const bytes = Buffer.alloc(255)
  return bytes.toString('utf8', 0, bytes.write(id))
}

function sorted(entries: Iterable<LedgerEntry>): string[] {
  return [...entries]
    .map((entry) => JSON.stringify([cut(entry.consumerId), cut(entry.jobId), entry.started, entry.deadlineMs]))
    .toSorted()
}

test('readLedger returns the jobs that had started and not ended at the last flush', () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('begin' as const), entry: entryArbitrary }),
    fc.record({ kind: fc.constant('end' as const), index: fc.nat() }),
    fc.record({ kind: fc.constant('start' as const), index: fc.nat(), limited: fc.boolean() }),
    fc.record({ kind: fc.constant('flush' as const) }),
  )
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const file = openFile()
      const ledger = new Ledger<LedgerEntry>(file, SLOTS, (entry) => entry)
      const running: LedgerEntry[] = []
      const started = new Set<LedgerEntry>()
      const limited = new Set<LedgerEntry>()
      const asWritten = (): string[] =>
        sorted(
          running.map((entry) => ({
            ...entry,
            started: started.has(entry),
            deadlineMs: limited.has(entry) ? entry.deadlineMs : 0,
          })),
        )
      let written: string[] = []
      for (const act of actions) {
        if (act.kind === 'begin') {
          // Jobs beyond the number of slots are not recorded.
          if (running.length < SLOTS) running.push(act.entry)
          ledger.begin(act.entry)
        } else if (act.kind === 'end') {
          const [ended] = running.splice(act.index % Math.max(running.length, 1), 1)
          if (ended === undefined) continue
          ledger.end(ended)
          // Neither this job nor one that runs at the same time may look overdue because of the other.
          if (limited.delete(ended) || limited.size > 0) written = asWritten()
        } else if (act.kind === 'start') {
          const entry = running[act.index % Math.max(running.length, 1)]
          if (entry === undefined || started.has(entry)) continue
          const isLimited = act.limited && entry.deadlineMs > 0
          ledger.start(entry, isLimited ? entry.deadlineMs : undefined)
          started.add(entry)
          if (isLimited) limited.add(entry)
          if (limited.size > 0) written = asWritten()
        } else {
          ledger.flush()
          written = asWritten()
        }
        expect(sorted(readLedger(file))).toEqual(written)
      }
    }),
    { numRuns: 200 },
  )
})

test('an end is written if no job starts after it', async () => {
  const file = openFile()
  const ledger = new Ledger<LedgerEntry>(file, SLOTS, (entry) => entry)
  const entry = { consumerId: 'c', jobId: 'j', started: false, deadlineMs: 0 }
  ledger.begin(entry)
  ledger.flush()
  expect(readLedger(file)).toEqual([entry])
  ledger.end(entry)
  await new Promise(setImmediate)
  expect(readLedger(file)).toEqual([])
})

test('ids of any length and script are stored up to 255 bytes', () => {
  const file = openFile()
  const ledger = new Ledger<LedgerEntry>(file, SLOTS, (entry) => entry)
  const entries = [
    { consumerId: 'c'.repeat(255), jobId: 'j'.repeat(255), started: true, deadlineMs: 1 },
    { consumerId: 'хост:1', jobId: '仕事🧵', started: true, deadlineMs: 2 },
    { consumerId: '', jobId: '', started: true, deadlineMs: 3 },
  ]
  const tooLong = { consumerId: '🧵'.repeat(64), jobId: 'j'.repeat(1000), started: true, deadlineMs: 4 }
  for (const entry of [...entries, tooLong]) {
    ledger.begin(entry)
    ledger.start(entry, entry.deadlineMs)
  }
  const shortened = { ...tooLong, consumerId: '🧵'.repeat(63), jobId: 'j'.repeat(255) }
  expect(readLedger(file)).toEqual([...entries, shortened])
})

test('a file that is cut at any position yields no wrong entry', () => {
  const entries = ['a', 'b', 'c'].map((jobId) => ({ consumerId: 'consumer', jobId, started: false, deadlineMs: 0 }))
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (share) => {
      const file = openFile()
      const ledger = new Ledger<LedgerEntry>(file, SLOTS, (entry) => entry)
      for (const entry of entries) ledger.begin(entry)
      ledger.flush()
      ftruncateSync(file, Math.floor(share * fstatSync(file).size))
      const read = readLedger(file)
      expect(read).toEqual(entries.slice(0, read.length))
    }),
  )
})

test('random bytes in the file do not throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3_000 }), (junk) => {
      const file = openFile()
      writeSync(file, junk)
      for (const { consumerId, jobId } of readLedger(file)) expect(consumerId.length + jobId.length).toBeLessThan(640)
    }),
  )
})

test('the file has no name', () => {
  const folder = mkdtempSync(join(tmpdir(), 'zyqueue-ledger-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  vi.stubEnv('TMPDIR', folder)
  openFile()
  expect(readdirSync(folder)).toEqual([])
})

import { Buffer } from 'node:buffer'
import { randomUUID } from 'node:crypto'
import { fstatSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A running job of a worker process. */
export interface LedgerEntry {
  readonly consumerId: string
  readonly jobId: string
  /**
   * False if its handler has not started because an earlier job blocks the process. Accurate while a job with a deadline
   * runs.
   */
  readonly started: boolean
  /** The time after which its process may be killed, in ms on the host's monotonic clock. 0 means never. */
  readonly deadlineMs: number
}

// One record per slot: state (1 byte), deadline (8), length of the consumer id (2), length of the job id (2), both ids.
const RECORD_BYTES = 640
const IDS_AT = 13
const FREE = 0
const NOTED = 1
const STARTED = 2
/** Longer ids are cut. No broker has longer ids. */
const MAX_ID_BYTES = 255

/**
 * Opens a file for a ledger and returns its descriptor. The supervisor passes the descriptor to a worker process and reads
 * the file. The file is unlinked immediately, so that it disappears even if both processes are killed.
 */
export function openLedgerFile(): number {
  const path = join(tmpdir(), `zyqueue-${randomUUID()}.ledger`)
  const file = openSync(path, 'wx+', 0o600)
  unlinkSync(path)
  return file
}

/**
 * Records the jobs of a worker process in a file before they run. The file survives the process, so the supervisor reads
 * from it which jobs ran at the end. A write goes to the page cache and costs about two microseconds for all jobs that start
 * in the same turn; one message per job would cost the supervisor as much as the worker.
 */
export class Ledger<Item> {
  readonly #file: number
  readonly #describe: (item: Item) => Pick<LedgerEntry, 'consumerId' | 'jobId'>
  readonly #slots = new Map<Item, number>()
  readonly #limited = new Set<Item>()
  readonly #free: number[]
  readonly #records: Buffer
  #dirtyFrom = Number.POSITIVE_INFINITY
  #dirtyTo = 0
  #laterFlush = false

  /** `file` is an open descriptor, which the caller must close. `slots` is the number of jobs that may run at once. */
  constructor(file: number, slots: number, describe: (item: Item) => Pick<LedgerEntry, 'consumerId' | 'jobId'>) {
    this.#file = file
    this.#describe = describe
    this.#records = Buffer.alloc(slots * RECORD_BYTES)
    this.#free = Array.from({ length: slots }, (_, index) => slots - 1 - index)
    // Allocates the whole file, so that a full disk fails here and not at a job.
    this.#touch(0, this.#records.length)
    this.flush()
  }

  begin(item: Item): void {
    const slot = this.#free.pop()
    if (slot === undefined) return
    this.#slots.set(item, slot)
    const { consumerId, jobId } = this.#describe(item)
    const at = slot * RECORD_BYTES
    const records = this.#records
    records.writeUInt8(NOTED, at)
    records.writeDoubleLE(0, at + 1)
    const consumerBytes = records.write(consumerId, at + IDS_AT, MAX_ID_BYTES)
    records.writeUInt16LE(consumerBytes, at + 9)
    records.writeUInt16LE(records.write(jobId, at + IDS_AT + consumerBytes, MAX_ID_BYTES), at + 11)
    this.#touch(at, RECORD_BYTES)
  }

  /**
   * Must be called when the handler of a recorded job starts. After `deadlineMs`, on the host's monotonic clock, its process may
   * be killed. While such a job runs, each start and each end is written at once, so that the culprit is known.
   */
  start(item: Item, deadlineMs = 0): void {
    const slot = this.#slots.get(item)
    if (slot === undefined) return
    const at = slot * RECORD_BYTES
    this.#records.writeUInt8(STARTED, at)
    this.#touch(at, IDS_AT)
    if (deadlineMs > 0) {
      this.#records.writeDoubleLE(deadlineMs, at + 1)
      this.#limited.add(item)
    }
    if (this.#limited.size > 0) this.flush()
  }

  /** Must also be called for a job that is released while its handler runs: it must not count a lost delivery. */
  end(item: Item): void {
    const slot = this.#slots.get(item)
    if (slot === undefined) return
    this.#slots.delete(item)
    this.#free.push(slot)
    this.#records.writeUInt8(FREE, slot * RECORD_BYTES)
    this.#touch(slot * RECORD_BYTES, 1)
    // Another job may block this process from now on. This job must not look overdue, or as if it ran at the same time.
    if (this.#limited.delete(item) || this.#limited.size > 0) return this.flush()
    // Usually the next start writes the change. If no job starts, this does.
    if (this.#laterFlush) return
    this.#laterFlush = true
    setImmediate(() => {
      this.#laterFlush = false
      this.flush()
    })
  }

  flush(): void {
    if (this.#dirtyTo === 0) return
    writeSync(this.#file, this.#records, this.#dirtyFrom, this.#dirtyTo - this.#dirtyFrom, this.#dirtyFrom)
    this.#dirtyFrom = Number.POSITIVE_INFINITY
    this.#dirtyTo = 0
  }

  #touch(at: number, bytes: number): void {
    this.#dirtyFrom = Math.min(this.#dirtyFrom, at)
    this.#dirtyTo = Math.max(this.#dirtyTo, at + bytes)
  }
}

/** The jobs that run, or ran when the process ended. Empty if the process wrote no ledger. Skips torn records. */
export function readLedger(file: number): LedgerEntry[] {
  const records = Buffer.alloc(fstatSync(file).size)
  const length = readSync(file, records, 0, records.length, 0)
  const entries: LedgerEntry[] = []
  for (let at = 0; at + RECORD_BYTES <= length; at += RECORD_BYTES) {
    const state = records.readUInt8(at)
    if (state !== NOTED && state !== STARTED) continue
    const jobAt = at + IDS_AT + records.readUInt16LE(at + 9)
    const end = jobAt + records.readUInt16LE(at + 11)
    if (end > at + RECORD_BYTES) continue
    entries.push({
      consumerId: records.toString('utf8', at + IDS_AT, jobAt),
      jobId: records.toString('utf8', jobAt, end),
      started: state === STARTED,
      deadlineMs: records.readDoubleLE(at + 1),
    })
  }
  return entries
}

import { Buffer } from 'node:buffer'
import { randomUUID } from 'node:crypto'
import { fstatSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A job that a worker process has said it runs. */
export interface LedgerEntry {
  readonly consumerId: string
  readonly jobId: string
  /** When it may be killed for running too long, in ms since 1970; 0 is never, or not known yet. */
  readonly deadlineMs: number
}

// One record a slot: running (1 byte), deadline (8), length of the consumer id (2), of the job id (2), both ids.
const RECORD_BYTES = 640
const IDS_AT = 13
/** As long as any broker's ids are; what is longer is cut. */
const MAX_ID_BYTES = 255

/**
 * Opens a file for a ledger; returns its descriptor. The supervisor hands it down to a worker process and reads it through
 * its own. The file has no name any more when this returns, so that nothing is left behind, whoever is killed.
 */
export function openLedgerFile(): number {
  const path = join(tmpdir(), `zyqueue-${randomUUID()}.ledger`)
  const file = openSync(path, 'wx+', 0o600)
  unlinkSync(path)
  return file
}

/**
 * Notes, in a file, which jobs a worker process runs, before it runs them. The file outlives the process, however that
 * ends: the supervisor reads from it which jobs were running then. A write goes to the page cache and costs about two
 * microseconds for all that start in the same moment; a message for each would cost the supervisor as much as the worker.
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

  /** `file` is an open descriptor, and stays its owner's; `slots` is how many jobs may run at once. */
  constructor(file: number, slots: number, describe: (item: Item) => Pick<LedgerEntry, 'consumerId' | 'jobId'>) {
    this.#file = file
    this.#describe = describe
    this.#records = Buffer.alloc(slots * RECORD_BYTES)
    this.#free = Array.from({ length: slots }, (_, index) => slots - 1 - index)
    // All the room that it will ever need, so that a full disk is met here and not by a job.
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
    records.writeUInt8(1, at)
    records.writeDoubleLE(0, at + 1)
    const consumerBytes = records.write(consumerId, at + IDS_AT, MAX_ID_BYTES)
    records.writeUInt16LE(consumerBytes, at + 9)
    records.writeUInt16LE(records.write(jobId, at + IDS_AT + consumerBytes, MAX_ID_BYTES), at + 11)
    this.#touch(at, RECORD_BYTES)
  }

  /** From when on a job that has begun may be killed; known at once. Its time runs from its own start, whoever began beside it. */
  limit(item: Item, deadlineMs: number): void {
    const slot = this.#slots.get(item)
    if (slot === undefined) return
    this.#limited.add(item)
    this.#records.writeDoubleLE(deadlineMs, slot * RECORD_BYTES + 1)
    this.#touch(slot * RECORD_BYTES, IDS_AT)
    this.flush()
  }

  /** Also for a job that was given back while its handler went on: nobody is to be charged for it. */
  end(item: Item): void {
    const slot = this.#slots.get(item)
    if (slot === undefined) return
    this.#slots.delete(item)
    this.#free.push(slot)
    this.#records.writeUInt8(0, slot * RECORD_BYTES)
    this.#touch(slot * RECORD_BYTES, 1)
    // A neighbour may block this process from now on: nobody is to see it run past its deadline meanwhile.
    if (this.#limited.delete(item)) return this.flush()
    // Most often the next job's begin writes it; where none comes, this does.
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

/** The jobs that run, or ran when the process ended. [] where the process never began a ledger. A torn record is left out. */
export function readLedger(file: number): LedgerEntry[] {
  const records = Buffer.alloc(fstatSync(file).size)
  const length = readSync(file, records, 0, records.length, 0)
  const entries: LedgerEntry[] = []
  for (let at = 0; at + RECORD_BYTES <= length; at += RECORD_BYTES) {
    if (records.readUInt8(at) !== 1) continue
    const jobAt = at + IDS_AT + records.readUInt16LE(at + 9)
    const end = jobAt + records.readUInt16LE(at + 11)
    if (end > at + RECORD_BYTES) continue
    entries.push({
      consumerId: records.toString('utf8', at + IDS_AT, jobAt),
      jobId: records.toString('utf8', jobAt, end),
      deadlineMs: records.readDoubleLE(at + 1),
    })
  }
  return entries
}

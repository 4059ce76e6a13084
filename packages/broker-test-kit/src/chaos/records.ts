import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/**
 * What processes note while things are broken around them, past the broker, each in a file of its own. `job` is the
 * submitter's own name for a job, in its data; `id` is the broker's. Times are of a clock that all processes share and
 * nobody can set: `now()`.
 */
export type ChaosRecord =
  /** A submit is about to be made. */
  | {
      readonly type: 'submitted'
      readonly job: string
      readonly hash: string
      readonly pid: number
      readonly at: number
    }
  /** It has settled. */
  | { readonly type: 'answered'; readonly job: string; readonly status: SubmitStatus; readonly at: number }
  /** A process has done all that it was to do, and every promise of its has settled. */
  | { readonly type: 'finished'; readonly pid: number; readonly at: number }
  /** A handler has begun, and ended: `ok` where it returned. */
  | {
      readonly type: 'began'
      readonly job: string
      readonly id: string
      readonly hash: string
      readonly attempt: number
      readonly pid: number
      readonly at: number
    }
  | {
      readonly type: 'ended'
      readonly job: string
      readonly id: string
      readonly ok: boolean
      readonly pid: number
      readonly at: number
    }
  /**
   * A consumer was given a delivery, and was told what became of its settlement. `askedAt`: when it began to wait for one. A process
   * that is frozen meanwhile notes late what it was given early.
   */
  | {
      readonly type: 'delivered'
      readonly id: string
      readonly consumer: string
      readonly askedAt?: number
      readonly at: number
    }
  | {
      readonly type: 'settled'
      readonly id: string
      readonly consumer: string
      readonly verb: 'ack' | 'release' | 'reject'
      readonly status: 'ok' | 'lease-lost' | 'returned' | 'unknown'
      readonly at: number
    }
  /** A process was ended from outside, with what it ran. */
  | { readonly type: 'killed'; readonly pid: number; readonly at: number }

export type SubmitStatus = 'stored' | 'refused' | 'unknown'

const TYPES: ReadonlySet<unknown> = new Set([
  'submitted',
  'answered',
  'finished',
  'began',
  'ended',
  'delivered',
  'settled',
  'killed',
])

/** Milliseconds on the monotonic clock of this host (clock_gettime(2), CLOCK_MONOTONIC). */
export function now(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000
}

/** Appends records to this process's own file in a folder: in the page cache when it returns, so that a SIGKILL loses none. */
export function recordTo(folder: string): (record: ChaosRecord) => void {
  const file = openSync(join(folder, `${process.pid}.ndjson`), 'a')
  return (record) => void writeSync(file, `${JSON.stringify(record)}\n`)
}

/** All that was noted in a folder, in the order of time. A last line that was cut off by the end of its process is left out. */
export function readRecords(folder: string): readonly ChaosRecord[] {
  const records = readdirSync(folder)
    .filter((name) => name.endsWith('.ndjson'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1))
    .map(parse)
  return records.toSorted((a, b) => a.at - b.at)
}

function parse(line: string): ChaosRecord {
  const value: unknown = JSON.parse(line)
  if (!isRecord(value)) throw new Error(`This is no record: ${line}`)
  return value
}

function isRecord(value: unknown): value is ChaosRecord {
  return (
    typeof value === 'object' &&
    value !== null &&
    'type' in value &&
    TYPES.has(value.type) &&
    'at' in value &&
    typeof value.at === 'number'
  )
}

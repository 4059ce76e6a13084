import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/**
 * What processes record during a chaos test, each in its own file and not through the broker. `job` is the submitter's name of a
 * job, from its data; `id` is the broker's. `at` is the time of `now()`, a clock that all processes share and that cannot be set.
 */
export type ChaosRecord =
  /** A process is about to submit a job. */
  | {
      readonly type: 'submitted'
      readonly job: string
      readonly hash: string
      readonly pid: number
      readonly at: number
    }
  /** The submit has settled. */
  | { readonly type: 'answered'; readonly job: string; readonly status: SubmitStatus; readonly at: number }
  /** A producer has ended normally, and all its promises have settled. */
  | { readonly type: 'finished'; readonly pid: number; readonly at: number }
  /** A handler has started, and ended. `ok` is true if it returned. */
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
   * A consumer has received a delivery, and the result of its settlement. `askedAt` is the start of the `receive`. A process
   * that is frozen meanwhile records a delivery later than it arrived.
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
  /** A process was killed. */
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

/** Appends records to the file of this process in a folder. A written record survives a SIGKILL of the process. */
export function recordTo(folder: string): (record: ChaosRecord) => void {
  const file = openSync(join(folder, `${process.pid}.ndjson`), 'a')
  return (record) => void writeSync(file, `${JSON.stringify(record)}\n`)
}

/** All records of a folder in the order of their times, without incomplete last lines of killed processes. */
export function readRecords(folder: string): readonly ChaosRecord[] {
  const records = readdirSync(folder)
    .filter((name) => name.endsWith('.ndjson'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1))
    .map(parse)
  return records.toSorted((a, b) => a.at - b.at)
}

function parse(line: string): ChaosRecord {
  const value: unknown = JSON.parse(line)
  if (!isRecord(value)) throw new Error(`Cannot read a line of a record file: ${line}`)
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

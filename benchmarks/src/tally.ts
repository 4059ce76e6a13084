/**
 * Tallies of worker processes that the contestant starts. Each process writes its tally to a file every 100 ms and at its exit.
 * The contestant reads the files of all processes.
 */
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { now, type Payload } from './contestant.ts'

const WRITE_MS = 100
/** More samples than the pings of any latency case. */
const MAX_SAMPLES = 1_000

const tally = z.object({
  count: z.number(),
  /** The times of the first and the last handler, on the clock of `now()`. */
  startedAt: z.number(),
  endedAt: z.number(),
  /** The times from submit to handler of the first jobs, in ms. */
  samples: z.array(z.number()),
})
export type Tally = z.infer<typeof tally>

export interface Counter {
  /** Counts one job. The handler calls it. */
  note(job: Payload): void
  read(): Tally
}

export function createCounter(): Counter {
  const samples: number[] = []
  let [count, startedAt, endedAt] = [0, 0, 0]
  return {
    note({ sentAt }) {
      endedAt = now()
      if (count++ === 0) startedAt = endedAt
      if (count <= MAX_SAMPLES) samples.push(endedAt - sentAt)
    },
    read: () => ({ count, startedAt, endedAt, samples }),
  }
}

/** Writes the tally of this process to a file for `readTallies`. */
export function publishTally({ read }: Counter, folder: string): void {
  const path = join(folder, `${process.pid}.json`)
  let written = 0
  const write = (): void => {
    const now = read()
    if (now.count === written) return
    written = now.count
    writeFileSync(`${path}.new`, JSON.stringify(now))
    renameSync(`${path}.new`, path)
  }
  setInterval(write, WRITE_MS).unref()
  process.once('exit', write)
}

/** The sum of all tallies in the folder so far. */
export function readTallies(folder: string): Tally {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => tally.parse(JSON.parse(readFileSync(join(folder, name), 'utf8'))))
    .reduce(
      (sum, one) => ({
        count: sum.count + one.count,
        startedAt: Math.min(sum.startedAt, one.startedAt),
        endedAt: Math.max(sum.endedAt, one.endedAt),
        samples: [...sum.samples, ...one.samples],
      }),
      { count: 0, startedAt: Infinity, endedAt: 0, samples: [] },
    )
}

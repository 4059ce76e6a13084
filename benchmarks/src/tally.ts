/**
 * What worker processes that are not the harness's own have done. Each leaves its tally in a file, some times a second and
 * at its end; whoever started them reads all.
 */
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { now, type Payload } from './contestant.ts'

const WRITE_MS = 100
/** More than any latency case pings. */
const MAX_SAMPLES = 1_000

const tally = z.object({
  count: z.number(),
  /** When the first and the last handler ran, on the clock of `now()`. */
  startedAt: z.number(),
  endedAt: z.number(),
  /** From submit to handler, of the first jobs, in ms. */
  samples: z.array(z.number()),
})
export type Tally = z.infer<typeof tally>

export interface Counter {
  /** To be called by the handler. */
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

/** Writes what a process of its own has counted to where `readTallies` looks. */
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

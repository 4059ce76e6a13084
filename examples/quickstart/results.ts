/** Stores the results of the handlers: one file per worker process, with a line of JSON per job. */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { z } from 'zod'

const result = z.object({
  job: z.string(),
  file: z.string(),
  sha256: z.string(),
  lines: z.number(),
  words: z.number(),
  bytes: z.number(),
  binary: z.boolean(),
})
export type Result = z.infer<typeof result>

export interface Results {
  /** By the path of the file, as in the job's data. */
  readonly byFile: ReadonlyMap<string, Result>
  /** The number of jobs of each worker process. */
  readonly jobsOf: ReadonlyMap<string, number>
}

/** The folder `RESULTS`, or `results` in the working directory. It must exist before the first job. */
export function resultsFolder(): string {
  return resolve(process.env['RESULTS'] ?? 'results')
}

export function readResults(): Results {
  const byJob = new Map<string, Result>()
  const jobsOf = new Map<string, number>()
  for (const name of resultFiles()) {
    // A killed process may leave half a line. Its job was delivered again.
    const lines = readFileSync(join(resultsFolder(), name), 'utf8').split('\n').slice(0, -1)
    for (const line of lines) {
      const parsed = result.parse(JSON.parse(line))
      byJob.set(parsed.job, parsed)
    }
    jobsOf.set(name.replace('.ndjson', ''), lines.length)
  }
  return { byFile: new Map([...byJob.values()].map((one) => [one.file, one])), jobsOf }
}

/** Counts results while they are written. Each call reads only the new lines. */
export function createResultCounter(): () => number {
  const readUpTo = new Map<string, number>()
  const chunk = Buffer.allocUnsafe(1024 * 1024)
  let count = 0
  return () => {
    for (const name of resultFiles()) {
      const file = openSync(join(resultsFolder(), name), 'r')
      let position = readUpTo.get(name) ?? 0
      for (let read = 1; read > 0; position += read) {
        read = readSync(file, chunk, 0, chunk.length, position)
        for (let at = chunk.indexOf(10); at >= 0 && at < read; at = chunk.indexOf(10, at + 1)) count++
      }
      readUpTo.set(name, position)
      closeSync(file)
    }
    return count
  }
}

function resultFiles(): string[] {
  return readdirSync(resultsFolder()).filter((name) => name.endsWith('.ndjson'))
}

import { readdirSync, readFileSync } from 'node:fs'

/** `getconf CLK_TCK`: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/**
 * CPU-seconds, user and system, that these processes and all under them have used so far (proc_pid_stat(5)).
 * `undefined` where there is no `/proc`.
 */
export function cpuSeconds(pids: readonly number[]): number | undefined {
  const all = readAll()
  if (all === undefined) return undefined
  const wanted = new Set(pids)
  // Parents have been read before their children or not: repeat until nobody is added.
  for (let size = -1; size !== wanted.size;) {
    size = wanted.size
    for (const { pid, parent } of all) if (wanted.has(parent)) wanted.add(pid)
  }
  return all.filter(({ pid }) => wanted.has(pid)).reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND
}

interface ProcessTimes {
  readonly pid: number
  readonly parent: number
  /** utime, stime, and those of children that have ended and been waited for. */
  readonly ticks: number
}

function readAll(): ProcessTimes[] | undefined {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => readOne(Number(name)))
  } catch {
    return undefined
  }
}

function readOne(pid: number): ProcessTimes[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name, field 2, is in parentheses and may hold anything; field 3 follows the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const field = (number: number): number => Number(fields[number - 3])
    return [{ pid, parent: field(4), ticks: field(14) + field(15) + field(16) + field(17) }]
  } catch {
    return [] // It ended meanwhile.
  }
}

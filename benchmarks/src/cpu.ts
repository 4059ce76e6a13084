import { readdirSync, readFileSync } from 'node:fs'

/** `getconf CLK_TCK`: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/**
 * The CPU seconds, user and system, of these processes and their descendants (proc_pid_stat(5)). `undefined` if there is no
 * `/proc`.
 */
export function cpuSeconds(pids: readonly number[]): number | undefined {
  const all = readAll()
  if (all === undefined) return undefined
  const wanted = new Set(pids)
  // A child may be listed before its parent, so repeat until no process is added.
  for (let size = -1; size !== wanted.size;) {
    size = wanted.size
    for (const { pid, parent } of all) if (wanted.has(parent)) wanted.add(pid)
  }
  return all.filter(({ pid }) => wanted.has(pid)).reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND
}

interface ProcessTimes {
  readonly pid: number
  readonly parent: number
  /** utime and stime of the process and of its ended children. */
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
    // Field 2, the name, is in parentheses and may contain parentheses. Field 3 follows the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const field = (number: number): number => Number(fields[number - 3])
    return [{ pid, parent: field(4), ticks: field(14) + field(15) + field(16) + field(17) }]
  } catch {
    return [] // The process has ended meanwhile.
  }
}

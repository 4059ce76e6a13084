import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { now, type ChaosRecord } from '@zyqueue/broker-test-kit'

/** Points at which a worker can be killed: after it received jobs, after it completed one, and before it sends an ack. */
export type CrashPoint = 'claimed' | 'effect' | 'ack'

/** Arms a crash point: the next process that reaches it is killed. */
export function arm(folder: string, point: CrashPoint | 'jump'): void {
  writeFileSync(join(folder, `at-${point}`), '')
}

/** Disarms a point. Returns true for the one process that has removed its file. */
export function disarm(folder: string, point: CrashPoint | 'jump'): boolean {
  try {
    rmSync(join(folder, `at-${point}`))
    return true
  } catch {
    return false
  }
}

/** Kills this process with SIGKILL if the point is armed. */
export function crashIf(folder: string, point: CrashPoint, record: (record: ChaosRecord) => void): void {
  if (!disarm(folder, point)) return
  record({ type: 'killed', pid: process.pid, at: now() })
  process.kill(process.pid, 'SIGKILL')
}

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { now, type ChaosRecord } from '@zyqueue/broker-test-kit'

/** Moments at which a worker can be made to die: when it has been given jobs, when one is done, before its ack is sent. */
export type CrashPoint = 'claimed' | 'effect' | 'ack'

/** Arms a crash point: the next process that comes there dies. */
export function arm(folder: string, point: CrashPoint | 'jump'): void {
  writeFileSync(join(folder, `at-${point}`), '')
}

/** True for one process, once, after a point was armed: who removes its file has disarm it. */
export function disarm(folder: string, point: CrashPoint | 'jump'): boolean {
  try {
    rmSync(join(folder, `at-${point}`))
    return true
  } catch {
    return false
  }
}

/** Ends this process as SIGKILL does, if the point is armed. */
export function crashIf(folder: string, point: CrashPoint, record: (record: ChaosRecord) => void): void {
  if (!disarm(folder, point)) return
  record({ type: 'killed', pid: process.pid, at: now() })
  process.kill(process.pid, 'SIGKILL')
}

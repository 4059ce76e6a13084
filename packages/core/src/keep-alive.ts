import { MAX_TIMER_MS } from './limits.ts'

let holders = 0
let timer: NodeJS.Timeout | undefined

/**
 * Keeps the process alive until the returned function is called. Adapters unref all they hold, so a process whose
 * submits have resolved ends; while core waits for a broker, this is what Node has to wait for.
 */
export function keepAlive(): () => void {
  timer ??= setInterval(() => {}, MAX_TIMER_MS)
  if (holders++ === 0) timer.ref()
  let held = true
  return () => {
    if (!held) return
    held = false
    if (--holders === 0) timer?.unref()
  }
}

import { MAX_TIMER_MS } from './limits.ts'

let holders = 0
let timer: NodeJS.Timeout | undefined

/**
 * Keeps the process alive until the returned function is called. Adapters unref their sockets and timers, so a process ends
 * when its submits have resolved. While core waits for a broker, this timer keeps the process alive.
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

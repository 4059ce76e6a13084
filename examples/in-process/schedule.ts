export interface Schedule {
  /** No more from now on; resolves when the last call has settled. */
  stop(): Promise<void>
}

/**
 * Calls `due` at each full interval of the clock: every 60,000 ms is at each full minute, whenever the process was started. A moment
 * that passed while the last call was under way is left out. Holds the process.
 */
export function every(intervalMs: number, due: (atMs: number) => Promise<void>): Schedule {
  let timer: NodeJS.Timeout | undefined
  let running = Promise.resolve()
  let stopped = false
  const wait = (): void => {
    const atMs = (Math.floor(Date.now() / intervalMs) + 1) * intervalMs
    timer = setTimeout(() => {
      running = due(atMs).finally(() => {
        if (!stopped) wait()
      })
    }, atMs - Date.now())
  }
  wait()
  return {
    stop() {
      stopped = true
      clearTimeout(timer)
      return running
    },
  }
}

export interface Schedule {
  /** Stops the schedule. Resolves when the last call has settled. */
  stop(): Promise<void>
}

/**
 * Calls `due` at each full interval of the clock: 60,000 ms means each full minute, whenever the process started. Skips the
 * times that pass while a call is running. Keeps the process alive.
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

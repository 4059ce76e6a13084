/** What the contract calls about ten seconds, with room for what has to be done after. */
export const PATIENCE_MS = 7_000

const STEPS = 7

/**
 * Calls once after so many milliseconds, unless the returned function is called before.
 *
 * Counts in steps: where a handler has blocked the event loop, the answer may have come and not been read yet, and all of
 * that time is one step. Its timer does not keep the process alive.
 */
export function afterSteps(ms: number, call: () => void): () => void {
  let steps = 0
  const timer = setInterval(() => {
    if (++steps < STEPS) return
    clearInterval(timer)
    call()
  }, ms / STEPS)
  timer.unref()
  return () => clearInterval(timer)
}

/** Resolves after so many milliseconds; does not keep the process alive. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

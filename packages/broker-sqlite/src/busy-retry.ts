import { BrokerError } from '@zyqueue/core/broker'
import { isBusy } from './errors.ts'

/** How long a call asks again for a lock that others hold, in milliseconds, until it rejects with `ZYQ_BROKER_BUSY`. */
export const PATIENCE_MS = 10_000

/**
 * Calls `attempt` until it is not BUSY, with a short pause between. SQLite's own `busy_timeout` blocks the event loop,
 * and is unfair: its back-off lets one of four processes wait for seconds.
 */
export async function busyRetry<T>(attempt: () => T, until = performance.now() + PATIENCE_MS): Promise<T> {
  for (;;) {
    try {
      return attempt()
    } catch (error) {
      if (!isBusy(error)) throw error
      if (performance.now() > until) throw stillBusy(error)
    }
    await pause()
  }
}

/**
 * About as long as another's transaction takes. A timer of Node counts in whole milliseconds, so this is one to two of them,
 * scattered by where in a millisecond each process happens to be; shorter pauses, asleep or spinning, measured slower.
 */
export function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 1).unref()
  })
}

export function stillBusy(cause: unknown): BrokerError {
  return new BrokerError('ZYQ_BROKER_BUSY', `Another process kept the queue file locked for ${PATIENCE_MS / 1000} s`, {
    cause,
  })
}

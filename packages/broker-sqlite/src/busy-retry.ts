import { BrokerError } from '@zyqueue/core/broker'
import { isBusy } from './errors.ts'

/** How long a call tries to get a lock that another process holds, in ms, before it rejects with `ZYQ_BROKER_BUSY`. */
export const BUSY_TIMEOUT_MS = 10_000

/**
 * Calls `attempt` until SQLite is not BUSY, with a short pause between. SQLite's own `busy_timeout` blocks the event loop
 * and is unfair: with its back-off, one of four processes waits for seconds.
 */
export async function busyRetry<T>(attempt: () => T, until = performance.now() + BUSY_TIMEOUT_MS): Promise<T> {
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
 * About as long as a transaction takes. Node's timers count whole milliseconds, so this is one to two milliseconds. Shorter
 * pauses, asleep or spinning, were slower when measured.
 */
export function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 1).unref()
  })
}

export function stillBusy(cause: unknown): BrokerError {
  return new BrokerError(
    'ZYQ_BROKER_BUSY',
    `Another process kept the queue file locked for ${BUSY_TIMEOUT_MS / 1000} s`,
    {
      cause,
    },
  )
}

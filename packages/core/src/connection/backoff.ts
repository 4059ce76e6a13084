import { setTimeout as sleep } from 'node:timers/promises'

/** How long to wait before trying again. */
export interface Backoff {
  /** Bound of the first wait, in ms. */
  readonly minMs: number
  /** Bound of every wait, in ms. */
  readonly maxMs: number
}

/** Exponential with full jitter: anything between 0 and `minMs` doubled for each try before, but never above `maxMs`. */
export function backoffMs({ minMs, maxMs }: Backoff, triesBefore: number): number {
  return Math.random() * Math.min(maxMs, minMs * 2 ** Math.min(triesBefore, 40))
}

/** How core knocks at a broker that is away. */
export const RECONNECT: Backoff = { minMs: 100, maxMs: 5_000 }

/** Waits; ends early, without an error, when the signal is aborted. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    if (signal?.aborted !== true) throw error
  }
}

import { setTimeout as sleep } from 'node:timers/promises'

/** The bounds of the waits between tries. */
export interface Backoff {
  /** Bound of the first wait, in ms. */
  readonly minMs: number
  /** Bound of every wait, in ms. */
  readonly maxMs: number
}

/** Exponential backoff with full jitter: a random time from 0 to `minMs * 2 ** triesBefore`, at most `maxMs`. */
export function backoffMs({ minMs, maxMs }: Backoff, triesBefore: number): number {
  return Math.random() * Math.min(maxMs, minMs * 2 ** Math.min(triesBefore, 40))
}

/** The waits between tries to reach an unavailable broker. */
export const RECONNECT: Backoff = { minMs: 100, maxMs: 5_000 }

/** Waits. Resolves early if the signal is aborted. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    if (signal?.aborted !== true) throw error
  }
}

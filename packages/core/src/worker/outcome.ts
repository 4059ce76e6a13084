import type { Headers } from '../contract/index.ts'

/** What happens to a delivery, and how its attempt ended. */
export type Outcome =
  | {
      readonly kind: 'ack'
      readonly end: 'done' | 'discarded'
      /** What the handler returned, for a caller that waits. */
      readonly result?: unknown
    }
  | {
      readonly kind: 'release'
      /** Absent: there was no attempt. */
      readonly end?: 'retried' | 'postponed'
      readonly delayMs: number
      readonly headers?: Headers
      /** What the attempt threw. */
      readonly error?: unknown
    }
  | {
      readonly kind: 'reject'
      readonly end: 'dead'
      readonly reason: string
      readonly headers: Headers
      /** What the attempt threw. */
      readonly error?: unknown
    }

export const ACK: Outcome = { kind: 'ack', end: 'done' }
export const DISCARD: Outcome = { kind: 'ack', end: 'discarded' }
/** Gives back a job that was not started, unchanged. */
export const GIVE_BACK: Outcome = { kind: 'release', delayMs: 0 }

import type { Headers } from '../contract/index.ts'
import { MAX_DELAY_MS } from '../limits.ts'

/** What happens to a delivery, and how its attempt ended. */
export type Outcome =
  | {
      readonly kind: 'ack'
      readonly end: 'done' | 'discarded' | 'expired'
      /** The handler's result, for a waiting caller. */
      readonly result?: unknown
      /** Why the handler discarded the job. */
      readonly reason?: string
      /** Why the job has expired. */
      readonly error?: unknown
    }
  | {
      readonly kind: 'release'
      /** Absent if there was no attempt. */
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
/** Releases an unstarted job without changes. */
export const GIVE_BACK: Outcome = { kind: 'release', delayMs: 0 }

/** False for an outcome that no broker can carry out, which a hook in plain JavaScript may return. */
export function isOutcome(outcome: Outcome): boolean {
  switch (outcome.kind) {
    case 'ack':
      return true
    case 'release':
      return Number.isFinite(outcome.delayMs) && outcome.delayMs >= 0 && outcome.delayMs <= MAX_DELAY_MS
    case 'reject':
      return typeof outcome.reason === 'string' && typeof outcome.headers === 'object'
    default:
      return false
  }
}

import type { Headers } from '../contract/index.ts'

/** What is to become of a delivery. */
export type Outcome =
  | { readonly kind: 'ack'; /** What the handler returned, for whoever waits for it. */ readonly result?: unknown }
  | { readonly kind: 'release'; readonly delayMs: number; readonly headers?: Headers }
  | { readonly kind: 'reject'; readonly reason: string; readonly headers: Headers }

export const ACK: Outcome = { kind: 'ack' }
/** Gives back what was not started: nothing of it changes. */
export const GIVE_BACK: Outcome = { kind: 'release', delayMs: 0 }

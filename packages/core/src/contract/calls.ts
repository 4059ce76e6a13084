import type { SettleResult } from './consumer.ts'
import type { Delivery, OutboundMessage } from './message.ts'

/** Jobs whose submitter waits for their end. */
export interface Calls {
  /**
   * Submits a job and waits for its end without a time limit. `delayMs` is 0. Rejects with the signal's reason if it is
   * aborted, and otherwise only if nothing was sent.
   */
  call(message: OutboundMessage, options: CallOptions): Promise<CallResult>
  /** Acks deliveries of any consumer of this broker and sends the results of their handlers to the callers. */
  answer(answers: readonly Answer[]): Promise<readonly SettleResult[]>
  /** Sends an update to the caller of an unsettled delivery. Does nothing if there is none. Never throws. */
  sendUpdate(delivery: Delivery, update: JobUpdate): void
}

export interface CallOptions {
  readonly signal: AbortSignal
  /** Receives the updates of the running job in their order. */
  readonly onUpdate: (update: JobUpdate) => void
}

/** What a running job sends to its caller. */
export type JobUpdate =
  | { readonly kind: 'progress'; readonly done: number; readonly of: number }
  | { readonly kind: 'data'; readonly body: Uint8Array }
  | { readonly kind: 'warning'; readonly text: string }

/** `unknown`: the job was sent, and the adapter cannot tell whether it ran. */
export type CallResult =
  | { readonly status: 'done'; readonly body: Uint8Array }
  | { readonly status: 'failed'; readonly reason?: string }
  | { readonly status: 'refused'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

export interface Answer {
  readonly delivery: Delivery
  /** The result of the handler. */
  readonly body: Uint8Array
}

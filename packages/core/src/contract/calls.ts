import type { SettleResult } from './consumer.ts'
import type { Delivery, OutboundMessage } from './message.ts'

/** Jobs whose submitter waits for their end. */
export interface Calls {
  /** Waits for the end of the job, without a time limit. Rejects with the signal's reason, or if nothing was sent. */
  call(message: OutboundMessage, options: CallRequest): Promise<CallResult>
  /** Acks deliveries of any of the broker's consumers and sends the results to the callers. */
  answer(answers: readonly Answer[]): Promise<readonly SettleResult[]>
  /** Updates the caller of an unsettled delivery, if there is one. Never throws. */
  sendUpdate(delivery: Delivery, update: JobUpdate): void
}

export interface CallRequest {
  readonly signal: AbortSignal
  /** In their order. */
  readonly onUpdate: (update: JobUpdate) => void
}

export type JobUpdate =
  | { readonly kind: 'progress'; readonly done: number; readonly of: number }
  | { readonly kind: 'data'; readonly body: Uint8Array }
  | { readonly kind: 'warning'; readonly text: string }

export type CallResult =
  | { readonly status: 'done'; readonly body: Uint8Array }
  | { readonly status: 'failed'; readonly reason?: string }
  | { readonly status: 'refused'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

export interface Answer {
  readonly delivery: Delivery
  readonly body: Uint8Array
}

import type { Delivery, Headers } from './message.ts'

/** Settling calls take any number of this consumer's deliveries and resolve to one result each, in their order. */
export interface Consumer {
  /**
   * Resolves to at most `max` deliveries as soon as there is one, to [] after about a second without one, and to [] at once
   * if the signal is aborted. Jobs that were claimed for an aborted call go back, uncounted. Core makes one call at a time.
   * Rejects with `ZYQ_LEASE_LOST` after the lease has ended. After any other error but `ZYQ_CLOSED` core keeps a consumer
   * with a renewable lease and asks again, so jobs that a rejected call has claimed must come with a later call.
   */
  receive(max: number, options: { readonly signal: AbortSignal }): Promise<readonly Delivery[]>
  ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]>
  /** Gives jobs back. Stores the new state before it removes the old one. Counts no lost delivery. */
  release(releases: readonly Release[]): Promise<readonly SettleResult[]>
  /** Moves jobs to the dead letters. Stores the dead letter before it removes the job. */
  reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]>
  /** Gives back all unsettled jobs, uncounted, and ends the lease. Idempotent. */
  close(): Promise<void>
}

/**
 * - `lease-lost`: another owner has or had the job. Nothing was changed. A second settlement of a delivery gives it too.
 * - `returned`: the job could not be settled and goes back as it was, after a second or when the engine accepts messages again.
 * - `unknown`: the call was sent without an answer, or the engine refused it. The consumer still holds the job. Core repeats
 *   the call while the lease can last, if leases are renewable or the code is `ZYQ_BROKER_FULL`. Otherwise the job returns
 *   with the consumer's `close` or with the lost connection.
 */
export type SettleResult =
  | { readonly status: 'ok' }
  | { readonly status: 'lease-lost' }
  | { readonly status: 'returned'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

export interface Release {
  readonly delivery: Delivery
  /** The job is ready this many milliseconds from now; 0 gives it back to its old place. Always 0 if `delay` is `none`. */
  readonly delayMs: number
  /** Replaces all headers of the job. Absent: they stay. */
  readonly headers?: Headers
}

export interface Rejection {
  readonly delivery: Delivery
  /** For people; begins with a `ZYQ_` code. */
  readonly reason: string
  /** Replaces all headers of the job. Absent: they stay. */
  readonly headers?: Headers
}

/** The process of a consumer. */
export interface ClientInfo {
  /** For people: `<task file>.<n>` of a supervised worker. */
  readonly name: string
  readonly host: string
  readonly pid: number
}

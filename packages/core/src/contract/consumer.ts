import type { Delivery, Headers } from './message.ts'

/** `ack`, `release` and `reject` take any number of deliveries and resolve to one result each, in order. */
export interface Consumer {
  /**
   * Resolves to at most `max` deliveries as soon as there is one; to [] after about a second, or at once if aborted: claimed jobs
   * then go back, uncounted. Core makes one call at a time. Rejects with `ZYQ_LEASE_LOST` if the lease has ended. After other
   * errors core calls again if leases are renewable: jobs that a rejected call claimed must come later.
   */
  receive(max: number, options: { readonly signal: AbortSignal }): Promise<readonly Delivery[]>
  ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]>
  /** Gives jobs back, uncounted. Stores the new state before it removes the old one. */
  release(releases: readonly Release[]): Promise<readonly SettleResult[]>
  /** Stores the dead letters before it removes the jobs. */
  reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]>
  /** Gives back all unsettled jobs, uncounted, and ends the lease. Idempotent. */
  close(): Promise<void>
}

/**
 * - `lease-lost`: another owner has or had the job, or the delivery was settled before. Nothing was changed.
 * - `returned`: it could not be settled. The job goes back as it was, soon or when the engine accepts messages again.
 * - `unknown`: no answer, or the engine refused. The consumer still holds the job. Core repeats the call if leases are renewable
 *   or the code is `ZYQ_BROKER_FULL`; otherwise the job returns with `close` or with the lost connection.
 */
export type SettleResult =
  | { readonly status: 'ok' }
  | { readonly status: 'lease-lost' }
  | { readonly status: 'returned'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

export interface Release {
  readonly delivery: Delivery
  /** 0 gives it back to its old place. If `delay` is `none`, other values reject with `ZYQ_UNSUPPORTED` before anything is settled. */
  readonly delayMs: number
  /** Replaces all headers. Absent: they stay. */
  readonly headers?: Headers
}

export interface Rejection {
  readonly delivery: Delivery
  /** Begins with a `ZYQ_` code. */
  readonly reason: string
  /** Replaces all headers. Absent: they stay. */
  readonly headers?: Headers
}

export interface ClientInfo {
  readonly name: string
  readonly host: string
  readonly pid: number
}

import type { ClientInfo } from './consumer.ts'
import type { Headers } from './message.ts'

/** Figures that the engine does not know are absent. Calls about an unknown queue reject with `ZYQ_QUEUE_NOT_FOUND`. */
export interface BrokerAdmin {
  /** All queues, or those of `names` that exist. */
  queues(names?: readonly string[]): Promise<readonly QueueStats[]>
  /** Deletes all waiting and delayed jobs. Resolves to their number, as all calls that delete do. */
  purge(queue: string): Promise<number>
  readonly deadLetters: DeadLetters
  /** Server settings that an operator should know. */
  check(): Promise<readonly Finding[]>
  version(): Promise<string>
  /** The live consumers of all processes. */
  workers?(): Promise<readonly WorkerStats[]>
  /** Active ones first, then in running order. */
  jobs?(queue: string, options: { readonly limit: number }): Promise<readonly StoredJob[]>
  /** Deletes waiting jobs. */
  cancel?(queue: string, ids: readonly string[]): Promise<number>
  /** Makes delayed jobs ready. */
  promote?(queue: string, ids: readonly string[]): Promise<number>
  /** The queue refuses jobs while `most` are waiting; 0: no limit. */
  limit?(queue: string, most: number): Promise<void>
  /** Frees space and repairs counts. Resolves to the number of leftovers that it removed. */
  compact?(queue: string): Promise<number>
  shutdown?(): Promise<void>
}

export interface DeadLetters {
  /** The newest first. */
  list(queue: string, options: { readonly limit: number }): Promise<readonly DeadLetter[]>
  /**
   * Makes dead letters ready, with their headers and priority and a delivery count of 0. Stores each job before it deletes the
   * dead letter. `undefined` means all, [] means none.
   */
  requeue(queue: string, ids?: readonly string[]): Promise<number>
  /** `ids` as for `requeue`. */
  purge(queue: string, ids?: readonly string[]): Promise<number>
}

export interface QueueStats {
  readonly name: string
  readonly ready?: number
  readonly delayed?: number
  readonly active?: number
  readonly dead?: number
  readonly workers?: number
  /** Of ready jobs; approximate. */
  readonly oldestStoredAtMs?: number
  readonly details?: Details
}

/** What only this engine knows, by the name to show. */
export type Details = Readonly<Record<string, string | number>>

export interface StoredJob {
  readonly id: string
  readonly queue: string
  readonly state: 'active' | 'ready' | 'delayed'
  readonly headers: Headers
  readonly body: Uint8Array
  readonly priority: number
  /** Milliseconds since 1970, as all times. */
  readonly readyAtMs?: number
  readonly storedAtMs?: number
}

export interface WorkerStats {
  readonly id: string
  readonly client: ClientInfo
  readonly queues: readonly string[]
  readonly active?: number
  readonly connectedAtMs?: number
  readonly details?: Details
}

export interface DeadLetter {
  readonly id: string
  readonly queue: string
  readonly reason: string
  readonly headers: Headers
  readonly body: Uint8Array
  readonly diedAtMs?: number
}

export interface Finding {
  /** `problem`: jobs can be lost. `warning`: it works worse than it could. */
  readonly level: 'note' | 'warning' | 'problem'
  readonly message: string
  readonly remedy?: string
}

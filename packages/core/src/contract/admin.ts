import type { ClientInfo } from './consumer.ts'
import type { Headers } from './message.ts'

/**
 * For operators. Every call returns one snapshot and changes nothing unless its name says so. A figure that the engine does
 * not know is absent, not guessed. Calls about an unknown queue reject with `ZYQ_QUEUE_NOT_FOUND`.
 */
export interface BrokerAdmin {
  /** All queues, or those of `names` that exist. */
  queues(names?: readonly string[]): Promise<readonly QueueStats[]>
  /** Deletes all waiting and delayed jobs of a queue and resolves to their number. */
  purge(queue: string): Promise<number>
  readonly deadLetters: DeadLetters
  /** Settings of this engine that an operator should know; [] if there are none. */
  check(): Promise<readonly Finding[]>
  version(): Promise<string>
  /** The consumers that live now, of all processes. */
  workers?(): Promise<readonly WorkerStats[]>
  /** At most `limit` jobs that are not dead: active ones first, then in the order in which they will run. */
  jobs?(queue: string, options: { readonly limit: number }): Promise<readonly StoredJob[]>
  /** Deletes those of these jobs that wait, and resolves to their number. */
  cancel?(queue: string, ids: readonly string[]): Promise<number>
  /** Has the queue refuse jobs while `most` are waiting; 0 means no limit. */
  limit?(queue: string, most: number): Promise<void>
  /** Frees space that the engine keeps, repairs its counts, and resolves to the number of leftovers that it removed. */
  compact?(queue: string): Promise<number>
  /** Asks the server to shut down. */
  shutdown?(): Promise<void>
}

export interface DeadLetters {
  /** The newest first. */
  list(queue: string, options: { readonly limit: number }): Promise<readonly DeadLetter[]>
  /**
   * Puts dead letters back into their queue, ready at once, with their headers and priority and a delivery count of 0.
   * Stores each job before it deletes the dead letter. Resolves to their number. `undefined` means all, [] means none.
   */
  requeue(queue: string, ids?: readonly string[]): Promise<number>
  /** Deletes dead letters and resolves to their number. `undefined` means all, [] means none. */
  purge(queue: string, ids?: readonly string[]): Promise<number>
}

export interface QueueStats {
  readonly name: string
  readonly ready?: number
  readonly delayed?: number
  /** Jobs that consumers hold. */
  readonly active?: number
  /** Dead letters. */
  readonly dead?: number
  /** Consumers of this queue. */
  readonly workers?: number
  readonly details?: Details
}

/** What only this engine knows, by the name that people read. */
export type Details = Readonly<Record<string, string | number>>

export interface StoredJob {
  readonly id: string
  readonly queue: string
  readonly state: 'active' | 'ready' | 'delayed'
  readonly headers: Headers
  readonly body: Uint8Array
  readonly priority: number
  /** When a delayed job is ready, in ms since 1970. */
  readonly readyAtMs?: number
  /** When it was stored, in ms since 1970. */
  readonly storedAtMs?: number
}

export interface WorkerStats {
  readonly id: string
  readonly client: ClientInfo
  readonly queues: readonly string[]
  /** Jobs that it holds. */
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
  /** `problem`: jobs can be lost. `warning`: something works worse than it could. */
  readonly level: 'note' | 'warning' | 'problem'
  readonly message: string
  readonly remedy?: string
}

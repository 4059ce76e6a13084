/**
 * The contract of broker adapters. Core batches, retries, times leases, validates and logs. An adapter does none of these, and
 * rejects with the engine's own errors. Every method obeys:
 *
 * - Every promise settles. A call without an answer rejects within about ten seconds, with the code `ZYQ_CONNECTION_LOST`, or
 *   `ZYQ_UNREACHABLE` if nothing was sent.
 * - Calls run concurrently and in any order, before `connect` too. After `close` they reject with `ZYQ_CLOSED`.
 * - Sockets and timers are unref'd.
 */
import type { CodeOf } from '../error-codes.ts'
import type { BrokerAdmin } from './admin.ts'
import type { ClientInfo, Consumer } from './consumer.ts'
import type { Calls } from './calls.ts'
import type { OutboundMessage, PublishResult, QueueSpec, Headers } from './message.ts'

/** The default export of a broker package. */
export interface BrokerPlugin {
  readonly kind: 'zyqueue.broker'
  readonly apiVersion: 2
  /** As in `server: 'redis'`. */
  readonly name: string
  /** Of connection strings, without the colon. */
  readonly schemes: readonly string[]
  /** Does no I/O. Throws `ConfigError`. */
  create(options: ConnectOptions): Broker
}

export interface ConnectOptions {
  /** Absent: the engine's default. It holds secrets and must not appear in an error. */
  readonly connection?: string
  /** Relative paths start here. */
  readonly baseDir: string
  /** If `false` and the storage is a missing file, `connect` rejects with `ZYQ_STORAGE_NOT_FOUND`. */
  readonly create?: boolean
}

export interface Broker {
  readonly name: string
  /** Host and port, or a path. Without secrets. */
  readonly location?: string
  readonly capabilities: BrokerCapabilities
  readonly leases: Leases
  readonly calls?: Calls
  readonly admin: BrokerAdmin

  /** For queues whose options change them. Throws `ConfigError` for impossible options. */
  capabilitiesOf?(queue: QueueSpec): BrokerCapabilities

  /** Makes one attempt, unless it is connected. Core repeats it after `ZYQ_UNREACHABLE` or `ZYQ_CONNECTION_LOST`. */
  connect(): Promise<void>

  /** Creates missing queues. Idempotent. Rejects, without a change, if one exists with other options. */
  declare(queues: readonly QueueSpec[]): Promise<void>

  /** One result each, in order. A refused message does not affect the others. Rejects only if nothing was sent. */
  publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]>

  consume(options: ConsumeOptions): Promise<Consumer>

  /** The code of any value; `ZYQ_BROKER` if it has no other. Never throws. */
  errorCode(error: unknown): CodeOf<'broker'>

  /** Settles pending calls. Idempotent, and allowed at any moment. */
  close(): Promise<void>
}

/** Frozen, and known before `connect`. */
export interface BrokerCapabilities {
  /** Whether stored messages survive the end of the engine's process. */
  readonly durable: boolean
  readonly delay: 'native' | 'emulated' | 'none'
  /** `none`: rejected jobs are deleted. */
  readonly deadLetter: 'native' | 'emulated' | 'none'
  /** Of lost deliveries. `emulated`: the adapter counts them. `none`: the count is always 0. */
  readonly deliveryCount: 'native' | 'emulated' | 'none'
  /** How many levels the priorities 0 to 9 fall into; 1: they are ignored. */
  readonly priorities: number
  /** `false`: the order is approximate, for instance over several servers. */
  readonly ordered?: boolean
  /** `republish`: the adapter stores a copy at the end of the queue, then acks the original. A crash in between duplicates it. */
  readonly release: 'native' | 'republish'
  /** Whether a message whose id was stored in the last minute is reported as stored, and is not stored again, even if its job has ended. */
  readonly idempotentPublish: boolean
  readonly maxBatch: number
  /** The engine must have room for 8 KiB of headers beside it. */
  readonly maxBodyBytes: number
}

/** How the jobs of a lost worker return to their queues. */
export type Leases = RenewableLeases | ConnectionLeases | MessageLeases

/** A consumer survives the loss of its connection. Any process can renew or end its lease by the consumer's id. */
export interface RenewableLeases {
  readonly kind: 'renewable'
  /** Sets the leases to end `leaseMs` from now. Resolves to the ids whose lease had ended; none is revived. */
  renew(consumerIds: readonly string[], leaseMs: number): Promise<readonly string[]>
  /** Ends the lease of a dead process. Its jobs are ready at once; only those in `lost` count a lost delivery. */
  reclaim(consumerId: string, lost: readonly LostDelivery[]): Promise<void>
}

/** A consumer and its hold on jobs end with its connection. */
export interface ConnectionLeases {
  readonly kind: 'connection'
  /** Counts lost deliveries; present exactly if `deliveryCount` is `emulated`. A job with a new owner counts it at its next delivery. */
  reclaim?(consumerId: string, lost: readonly LostDelivery[]): Promise<void>
}

/** Each delivery has a timeout, which the adapter extends while its consumer lives. A consumer ends with its connection. */
export interface MessageLeases {
  readonly kind: 'message'
  /** The jobs of a lost worker return within this time. */
  readonly timeoutMs: number
}

export interface LostDelivery {
  readonly id: string
  /** They are merged into those of the job. */
  readonly headers?: Headers
}

export interface ConsumeOptions {
  readonly queues: readonly QueueSpec[]
  /** The most unsettled deliveries over all queues, including those whose settlement is pending. */
  readonly prefetch: number
  readonly leaseMs: number
  /** Unique, now and later. */
  readonly consumerId: string
  readonly client: ClientInfo
}

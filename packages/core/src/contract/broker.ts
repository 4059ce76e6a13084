/**
 * The contract between core and a broker adapter. `docs/write-a-broker.md` explains it and shows an adapter.
 *
 * Core batches, retries, times leases, validates, logs and wraps errors. An adapter moves bytes. It must not retry, log or
 * decide, and it rejects with the engine's own errors.
 *
 * These rules hold for every method:
 * - Every promise settles. A call that gets no answer rejects within about ten seconds, with an error whose code is
 *   `ZYQ_CONNECTION_LOST`, or `ZYQ_UNREACHABLE` if nothing was sent.
 * - Calls run concurrently and in any order, before `connect` too. After `close` they reject with `ZYQ_CLOSED`.
 * - Sockets and timers are unref'd. Core keeps the process alive while one of its calls is pending.
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
  /** The short name, as in `server: 'redis'`. */
  readonly name: string
  /** The schemes of the connection strings that name this broker, without the colon. */
  readonly schemes: readonly string[]
  /** Checks the options and makes a broker that is not connected. Does no I/O. Throws `ConfigError`. */
  create(options: ConnectOptions): Broker
}

export interface ConnectOptions {
  /** As the user wrote it. Absent: the engine's usual place. It holds secrets and must not appear in a log or an error. */
  readonly connection?: string
  /** The folder that relative paths start from. */
  readonly baseDir: string
  /** If `false` and the storage is a file that does not exist, `connect` rejects with `ZYQ_STORAGE_NOT_FOUND`. Default: true. */
  readonly create?: boolean
}

export interface Broker {
  readonly name: string
  /** For people: host and port, or a path. Without secrets. */
  readonly location?: string
  readonly capabilities: BrokerCapabilities
  readonly leases: Leases
  /** Absent: no submitter can wait for the end of its job. */
  readonly calls?: Calls
  readonly admin: BrokerAdmin

  /** The capabilities of one queue, if its options change them. Throws `ConfigError` if the options are impossible. */
  capabilitiesOf?(queue: QueueSpec): BrokerCapabilities

  /**
   * Makes one attempt to open what is not open. Core calls it first, and again after a call rejected with
   * `ZYQ_UNREACHABLE` or `ZYQ_CONNECTION_LOST`.
   */
  connect(): Promise<void>

  /** Creates the queues that do not exist. Idempotent. If one exists with other options, it changes nothing and rejects. */
  declare(queues: readonly QueueSpec[]): Promise<void>

  /**
   * Stores at most `maxBatch` messages and resolves to one result each, in the order of the batch. A message that cannot be
   * stored does not affect the others. Rejects only if no message was sent.
   */
  publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]>

  /** Starts one consumer for these queues, on one connection. */
  consume(options: ConsumeOptions): Promise<Consumer>

  /** The code of any error that a method rejected with; `ZYQ_BROKER` if it has none. Never throws. */
  errorCode(error: unknown): CodeOf<'broker'>

  /** Settles what is pending and closes everything. Idempotent, and allowed at any moment. */
  close(): Promise<void>
}

/** What a broker does, and how. Frozen data that never changes during the life of the broker. */
export interface BrokerCapabilities {
  /** Whether a stored message survives the end of the engine's process. */
  readonly durable: boolean
  readonly delay: 'native' | 'emulated' | 'none'
  /** Whether rejected jobs are kept, with their reason, for `admin.deadLetters`. */
  readonly deadLetter: 'native' | 'emulated' | 'none'
  /** Who counts lost deliveries. `emulated`: the adapter. `none`: `Delivery.deliveryCount` is always 0. */
  readonly deliveryCount: 'native' | 'emulated' | 'none'
  /** How many levels the priorities 0 to 9 fall into; 1 means that priorities are ignored. */
  readonly priorities: number
  /** `false`: the order of jobs is only approximate, for instance over several servers. Default: true. */
  readonly ordered?: boolean
  /**
   * `native`: a release changes the stored job. `republish`: the adapter stores a copy and then acks the original, so that a
   * crash in between duplicates the job, and a released job goes to the end of its queue.
   */
  readonly release: 'native' | 'republish'
  /**
   * Whether a message whose id was stored during the last minute is not stored again, and is reported as stored, also if its
   * job has ended. If true, core repeats a publish whose outcome is unknown.
   */
  readonly idempotentPublish: boolean
  /** The most messages in one `publish`. */
  readonly maxBatch: number
  /** The largest body in bytes. The engine must have room for 8 KiB of headers beside it. */
  readonly maxBodyBytes: number
}

/** What ends if a worker is lost, so that its jobs return to their queues. */
export type Leases = RenewableLeases | ConnectionLeases | MessageLeases

/**
 * A consumer holds its jobs until its lease runs out. Any process that knows the consumer's id can renew or end the lease. A
 * consumer survives the loss of its connection.
 */
export interface RenewableLeases {
  readonly kind: 'renewable'
  /** Sets the leases to end `leaseMs` from now. Resolves to the ids whose lease has ended: an ended lease is never revived. */
  renew(consumerIds: readonly string[], leaseMs: number): Promise<readonly string[]>
  /**
   * Ends the lease of a consumer whose process is dead. All its jobs are ready at once. Only those in `lost` count a lost
   * delivery.
   */
  reclaim(consumerId: string, lost: readonly LostDelivery[]): Promise<void>
}

/** A consumer holds its jobs until its connection ends. The consumer ends with it. */
export interface ConnectionLeases {
  readonly kind: 'connection'
  /**
   * Counts lost deliveries of jobs that have returned already. Present exactly if `deliveryCount` is `emulated`. A job that has
   * another owner by then counts this loss with its next delivery.
   */
  reclaim?(consumerId: string, lost: readonly LostDelivery[]): Promise<void>
}

/**
 * Each delivery has a timeout of its own, which only its consumer can extend (SQS, JetStream, beanstalkd). The adapter extends
 * the timeouts of all unsettled deliveries while the consumer lives. A consumer ends with its connection.
 */
export interface MessageLeases {
  readonly kind: 'message'
  /** After the loss of a worker its jobs return within this time, in ms. */
  readonly timeoutMs: number
}

export interface LostDelivery {
  readonly id: string
  /** Headers that replace or extend those of the job. */
  readonly headers?: Headers
}

export interface ConsumeOptions {
  readonly queues: readonly QueueSpec[]
  /** The most unsettled deliveries at once, over all queues. */
  readonly prefetch: number
  readonly leaseMs: number
  /** Names the owner of the lease. Unique in the broker, now and later. */
  readonly consumerId: string
  /** What `admin.workers` shows. */
  readonly client: ClientInfo
}

/**
 * The contract between core and a broker: all that an adapter owes, in one file.
 *
 * Core is concrete and adapters are narrow. Batching, flow control, retries, the timing of leases, validation, logging
 * and the wrapping of errors are written once, in core. An adapter moves bytes and maps native errors to codes; it never
 * retries a job, logs, or decides. It rejects with the engine's own errors; core asks `errorCode` about each and wraps it once.
 *
 * Core calls `connect` first, and again, with backoff, after a call has rejected with `ZYQ_UNREACHABLE` or
 * `ZYQ_CONNECTION_LOST`. Where leases are renewable a consumer outlives its connection, and core goes on with it; where the
 * lease is the connection's, core closes the consumer and makes another. Core calls `declare` before a queue is published
 * to or consumed, and the rest concurrently and in any order; after `close`, all reject with `ZYQ_CLOSED`. Sockets and
 * timers that an adapter holds are unref'd: while a call of core is under way, core keeps the process alive; between calls
 * nothing should. Every promise settles: a call that the network has swallowed rejects within about ten seconds, and `close`
 * settles all that are pending.
 */
import type { CodeOf } from '../error-codes.ts'

/** What a broker package exports as its default. */
export interface BrokerPlugin {
  readonly kind: 'zyqueue.broker'
  readonly apiVersion: 1
  /** The short name, as in `server: 'redis'`. */
  readonly name: string
  /** The schemes of connection strings that name this broker, without the colon. */
  readonly schemes: readonly string[]
  /** Checks the options and makes a broker that is not yet connected. Throws `ConfigError`; does no I/O. */
  create(options: ConnectOptions): Broker
}

export interface ConnectOptions {
  /** The connection string as the user wrote it; absent means the broker's default. Holds secrets: never log it, or put it into an error. */
  readonly connection?: string
  /** The folder that relative paths and defaults start from. */
  readonly baseDir: string
  /**
   * `false`: whoever asks only looks. Where the engine is a file that does not exist, `connect` rejects with
   * `ZYQ_STORAGE_NOT_FOUND` and makes nothing. Default: true. An adapter of a server need not read it.
   */
  readonly create?: boolean
}

/** How, not only whether, a broker does a thing. Data, frozen, the same for the life of the broker. */
export interface BrokerCapabilities {
  /** What `publish` has called stored survives the end of the broker's own process. */
  readonly durable: boolean
  /** Jobs that become ready later. */
  readonly delay: 'native' | 'emulated' | 'none'
  /**
   * `connection`: a consumer's jobs return when its connection ends. `renewable`: they return when its lease has run out, and
   * who knows no more than the consumer's id can renew and end it from another process. An engine with a timer for each
   * message, which only its holder extends, is of the first kind, and the adapter extends it.
   */
  readonly lease: 'connection' | 'renewable'
  /** Whether rejected jobs are kept, with their reason, for `admin.deadLetters`. */
  readonly deadLetter: 'native' | 'emulated' | 'none'
  /** Whether `Delivery.deliveryCount` is true; `none` means that it is always 0. */
  readonly deliveryCount: 'native' | 'emulated' | 'none'
  /** Distinct levels that the priorities 0–9 fall into; 1 means that priorities are not kept. */
  readonly priorities: number
  /** `false`: only roughly so, whatever this file says of the order of jobs, as between several servers. Absent: as it says. */
  readonly ordered?: boolean
  /** `native`: a release changes the stored job. `republish`: it is stored anew, then acked; a crash between duplicates it. */
  readonly release: 'native' | 'republish'
  /** Jobs whose submitter waits for their end. Absent: there are none, and no `Broker.call`. */
  readonly call?: 'native' | 'none'
  /**
   * A message whose id was stored within the last ten minutes is not stored again, and called stored: core may retry what is
   * unknown. Also where the job is done by then, and where the engine was started anew in between, as far as it is `durable`.
   */
  readonly idempotentPublish: boolean
  /** The most messages that one `publish` takes. */
  readonly maxBatch: number
  /** The largest body, in bytes, beside which there is room for headers: core adds up to a few KiB of its own. */
  readonly maxBodyBytes: number
}

/** String metadata of a message, without a prototype. Keys are lower case; core's own begin with `zyq-`. */
export type Headers = Readonly<Record<string, string>>

export interface QueueSpec {
  readonly name: string
  /** Whether nobody chose the name: it is the task's. A broker that can make up names of its own may do so then. */
  readonly unnamed?: boolean
  /** The options of the task that only this kind of broker knows (`exchange`, …). Refuse unknown ones with `ConfigError`. */
  readonly options: Readonly<Record<string, unknown>>
}

export interface OutboundMessage {
  readonly queue: string
  /**
   * Unique to this submission, 1 to 63 ASCII characters: the token by which a broker recognises a retry. Core's own are series
   * of 20 characters and a counter of 8 digits in base 36, so that a broker may remember many of them in little room.
   */
  readonly id: string
  readonly body: Uint8Array
  readonly headers: Headers
  /** Not ready before so many milliseconds from now; 0 is at once. */
  readonly delayMs: number
  /** 0 to 9, the higher first; within one level the earlier first. 4 is normal. */
  readonly priority: number
  /** Options of this submission that only this kind of broker knows. */
  readonly options?: Readonly<Record<string, unknown>>
}

/** What became of one message. `refused`: surely not stored. `unknown`: it was sent, and nothing tells whether it is stored. */
export type PublishResult =
  | { readonly status: 'stored' }
  | { readonly status: 'refused'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

export interface Broker {
  readonly name: string
  /** Where it is, for people: a host and port, the path of a file. Without secrets; absent where there is nothing to say. */
  readonly location?: string
  readonly capabilities: BrokerCapabilities
  readonly admin: BrokerAdmin

  /** What holds for one queue, where its options decide. Throws `ConfigError` where they cannot be. Absent: `capabilities` for all. */
  capabilitiesOf?(queue: QueueSpec): BrokerCapabilities

  /** Opens what is not open. One attempt: core has the patience. */
  connect(options?: { readonly signal?: AbortSignal }): Promise<void>

  /** Makes sure that the queues exist. Idempotent. Leaves everything as it was where one exists that differs, and rejects. */
  declare(queues: readonly QueueSpec[]): Promise<void>

  /**
   * Stores a batch of at most `maxBatch`; one result for each message, in their order. Resolves when each is as safe as
   * `durable` says. What is wrong with one message refuses that one; it rejects only where nothing of the batch was sent.
   */
  publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]>

  /**
   * Submits a job and waits for its end, however long it takes, or until the signal is aborted: it rejects with the signal's
   * reason then, and whether the job runs is not known. Rejects otherwise only where nothing was sent. `delayMs` is 0.
   */
  call?(message: OutboundMessage, options: CallOptions): Promise<CallResult>

  /** Starts a consumer of these queues. They share one budget, and one connection however many they are. */
  consume(options: ConsumeOptions): Promise<Consumer>

  /**
   * Has the leases of consumers, which may live in other processes, end `leaseMs` from now, be that later or sooner than before,
   * and resolves to those ids whose lease had ended: an ended lease is not revived. Only where `lease` is `renewable`.
   */
  renew?(consumerIds: readonly string[], leaseMs: number): Promise<readonly string[]>

  /**
   * Ends the lease of a consumer whose process is known to be gone: all that it held is ready again at once. Only the
   * charged jobs count one more delivery; those it held but had not started return as if never delivered.
   * There where `lease` is `renewable`; and where it is `connection`, whose jobs are back already, if that is how they are
   * counted (`deliveryCount: 'emulated'`). A job that its next owner has by then counts this loss after that one only.
   */
  reclaim?(consumerId: string, charged: readonly Charge[]): Promise<void>

  /** The code for an error that a method of this broker or its consumers rejected with. Never throws. */
  errorCode(error: unknown): CodeOf<'broker'>

  /** Settles what is pending, closes what is open. Idempotent, and safe in the middle of anything. */
  close(): Promise<void>
}

export interface CallOptions {
  readonly signal: AbortSignal
  /** What the job tells of itself while it runs, in its order. Must not throw. */
  readonly onNews: (news: News) => void
}

/** What a job that runs tells whoever waits for it. */
export type News =
  | { readonly kind: 'progress'; readonly done: number; readonly of: number }
  | { readonly kind: 'data'; readonly body: Uint8Array }
  | { readonly kind: 'warning'; readonly text: string }

/** How a call has ended. `unknown`: it was sent, and nothing tells whether it was run, or to which end. */
export type CallResult =
  | { readonly status: 'done'; readonly body: Uint8Array }
  | { readonly status: 'failed'; readonly reason?: string }
  | { readonly status: 'refused'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

export interface ConsumeOptions {
  readonly queues: readonly QueueSpec[]
  /** The most deliveries that may be in hand, unsettled, at once. */
  readonly prefetch: number
  readonly leaseMs: number
  /** Unique in the broker; names the owner of the lease. */
  readonly consumerId: string
  /** What `admin.workers` shows. */
  readonly client: ClientInfo
}

export interface ClientInfo {
  /** For people: `<task file>.<n>` of a supervised worker. */
  readonly name: string
  readonly host: string
  readonly pid: number
}

export interface Charge {
  readonly id: string
  /** Headers to put on the job, over those it has. */
  readonly headers?: Headers
}

/** A job in a consumer's hands. An adapter's own objects may hold more; core hands back the very same object to settle it. */
export interface Delivery {
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly priority: number
  /** How often it was in the hands of an owner that was lost; 0 at first. AMQP 1.0 counts the same (§3.2.1). */
  readonly deliveryCount: number
  /** When it was stored, in milliseconds since 1970, where the broker knows. */
  readonly storedAtMs?: number
  /** Why its body cannot be read, where its sender says that it is something else than JSON: core dead-letters it with that. */
  readonly undecodable?: string
  /** Whether its submitter is known to wait for its end. To reject it tells them why it failed, and leaves no dead letter. */
  readonly foreground?: boolean
}

/** A delivery that has ended well, and what its handler returned. */
export interface Answer {
  readonly delivery: Delivery
  readonly body: Uint8Array
}

/**
 * `lease-lost`: another owner has or had it, and nothing was changed. `returned`: it could not be settled, as with headers that
 * are too large, and goes back as it was; not at once, since it would come again at once, but within a second or two, or when an
 * engine that takes no messages at the moment takes them again.
 * `unknown`: sent, and nothing tells; or the engine said no, and its error tells why. The delivery stays in hand. Core asks
 * again for as long as a lease can last where that is renewable or the code is `ZYQ_BROKER_FULL`, and otherwise gives up at
 * once. What it gives up comes back by the consumer's `close`, which it calls when nothing else of that consumer is in hand,
 * or with the connection where that is lost.
 */
export type SettleResult =
  | { readonly status: 'ok' }
  | { readonly status: 'lease-lost' }
  | { readonly status: 'returned'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

export interface Release {
  readonly delivery: Delivery
  /** Not ready before so many milliseconds from now; 0 gives it back to where it stood. */
  readonly delayMs: number
  /** All headers that it shall have from now on; absent leaves them. */
  readonly headers?: Headers
}

export interface Rejection {
  readonly delivery: Delivery
  /** Why, for people: begins with a `ZYQ_` code. */
  readonly reason: string
  /** All headers that it shall have from now on; absent leaves them. */
  readonly headers?: Headers
}

/** The settling calls take any number of deliveries of this consumer and answer for each, in their order. None counts a delivery. */
export interface Consumer {
  /**
   * At most `max` deliveries, as soon as there is one; [] after about a second without, or at once when the signal is
   * aborted. What was claimed for a call that was aborted is given back.
   * Rejects with `ZYQ_LEASE_LOST` once the lease has ended. After any other error but `ZYQ_CLOSED`, core keeps a consumer whose
   * lease is renewable and asks it again: a call that rejects has claimed nothing, or a later call brings what it has claimed.
   * Never called while a call is under way.
   */
  receive(max: number, options: { readonly signal: AbortSignal }): Promise<readonly Delivery[]>
  ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]>
  /** As `ack`, with what is for whoever waits. Where `call` is. */
  answer?(answers: readonly Answer[]): Promise<readonly SettleResult[]>
  /** Tells whoever waits for a delivery that is in hand. Nothing happens where nobody does. Where `call` is. */
  tell?(delivery: Delivery, news: News): void
  release(releases: readonly Release[]): Promise<readonly SettleResult[]>
  reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]>
  /**
   * Ends the consumer and its lease; what is still in hand goes back, uncharged. Idempotent. After it, and after the
   * broker's own, `receive` rejects with `ZYQ_CLOSED`, and settling does so too, or answers `lease-lost`.
   */
  close(): Promise<void>
}

/** For people and the CLI: a snapshot each. A figure that the broker does not know is left out. */
export interface BrokerAdmin {
  /** All that there are. `names` are those that the caller is after: an adapter that pays for each need not look at others. */
  queues(names?: readonly string[]): Promise<readonly QueueStats[]>
  /** Those that consume now, whatever process asks. */
  workers?(): Promise<readonly WorkerStats[]>
  /** Deletes what waits in the queue, delayed jobs included, and resolves to how many those were. Unknown queue: `ZYQ_QUEUE_NOT_FOUND`. */
  purge(queue: string): Promise<number>
  /** The jobs of a queue that are not dead, at most `limit`: those that run first, then in the order in which they will. Unknown queue: `ZYQ_QUEUE_NOT_FOUND`. */
  jobs?(queue: string, options: { readonly limit: number }): Promise<readonly StoredJob[]>
  /** Deletes those of these jobs that wait in the queue, delayed or ready; resolves to how many. */
  cancel?(queue: string, ids: readonly string[]): Promise<number>
  /** Has the queue refuse jobs beyond so many that wait; 0 is no limit. */
  limit?(queue: string, most: number): Promise<void>
  /** Gives back the room that an engine keeps for what has left the queue, and mends what it counts; resolves to how much was left over. */
  compact?(queue: string): Promise<number>
  readonly deadLetters: DeadLetters
  /** What an operator should know about this broker's settings; [] when all is well. */
  check(): Promise<readonly Finding[]>
  /** The engine's version, for people. */
  version(): Promise<string>
  /** Asks the server to end. */
  shutdown?(): Promise<void>
}

export interface QueueStats {
  readonly name: string
  /** Ready now. */
  readonly ready?: number
  /** Waiting for their time. */
  readonly delayed?: number
  /** In the hands of workers. */
  readonly active?: number
  /** Dead letters. */
  readonly dead?: number
  /** Workers that consume it. */
  readonly workers?: number
  /** Of those that are ready, how many of each level; where the broker has three and counts them. */
  readonly high?: number
  readonly normal?: number
  readonly low?: number
}

export interface StoredJob {
  readonly id: string
  readonly queue: string
  readonly state: 'active' | 'ready' | 'delayed'
  readonly headers: Headers
  readonly body: Uint8Array
  readonly priority: number
  /** When it will be ready, in ms since 1970; for delayed ones. */
  readonly readyAtMs?: number
  /** When it was stored, in ms since 1970. */
  readonly storedAtMs?: number
}

export interface WorkerStats {
  readonly id: string
  readonly client: ClientInfo
  readonly queues: readonly string[]
  /** Jobs in its hands. */
  readonly active?: number
  readonly connectedAtMs?: number
  /** Where the server says that it comes from. */
  readonly address?: string
  /** The server's own number for its connection. */
  readonly fileDescriptor?: number
}

export interface DeadLetters {
  /** The newest first. */
  list(queue: string, options: { readonly limit: number }): Promise<readonly DeadLetter[]>
  /** Puts them back into their queue, ready now, with delivery count 0; resolves to how many. No ids means all. */
  requeue(queue: string, ids?: readonly string[]): Promise<number>
  /** Deletes them; resolves to how many. No ids means all. */
  purge(queue: string, ids?: readonly string[]): Promise<number>
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
  readonly level: 'note' | 'warning' | 'problem'
  readonly message: string
  readonly remedy?: string
}

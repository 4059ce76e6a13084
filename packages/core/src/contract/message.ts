/** Messages on their way into a queue, and the jobs that come out of it. */

/** An object without a prototype. Keys are lower case; keys that begin with `zyq-` are core's. */
export type Headers = Readonly<Record<string, string>>

export interface QueueSpec {
  /** 1 to 200 bytes of UTF-8 without white space or control characters. Case counts. */
  readonly name: string
  /** Whether the user gave no name, so that it is the name of the task. A broker may then generate one. */
  readonly unnamed?: boolean
  /** Task options that only this broker knows, such as `exchange`. The adapter refuses unknown ones with `ConfigError`. */
  readonly options: Readonly<Record<string, unknown>>
}

export interface OutboundMessage {
  readonly queue: string
  /** Unique to this submission: 1 to 63 ASCII characters. Core's ids are a series of 20 characters and an 8-digit counter. */
  readonly id: string
  readonly body: Uint8Array
  readonly headers: Headers
  /** The message is ready this many milliseconds from now; 0 is at once. */
  readonly delayMs: number
  /** 0 to 9. A higher priority runs first; within one level the order of submission holds. 4 is normal. */
  readonly priority: number
  /** Submit options that only this broker knows. */
  readonly options?: Readonly<Record<string, unknown>>
}

/** `refused`: the message is certainly not stored. `unknown`: it was sent, and the adapter cannot tell. */
export type PublishResult =
  | { readonly status: 'stored' }
  | { readonly status: 'refused'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

/** A job that a consumer holds. Core passes the same object back to settle it, so an adapter's object may have more fields. */
export interface Delivery {
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly priority: number
  /** How many owners of this job were lost; 0 at first. */
  readonly deliveryCount: number
  /** When the message was stored, in ms since 1970, if the engine knows. */
  readonly storedAtMs?: number
  /** Why the body cannot be decoded, if its sender declared a content type other than JSON. Core dead-letters the job. */
  readonly undecodable?: string
  /** Whether a caller waits for the job (`Calls`). Rejecting it then reports the failure and keeps no dead letter. */
  readonly foreground?: boolean
}

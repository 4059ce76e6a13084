/** Without a prototype: `__proto__` is a key like any other. Keys are lower case. */
export type Headers = Readonly<Record<string, string>>

export interface QueueSpec {
  /** 1 to 200 bytes of UTF-8 without white space or control characters. Case counts. */
  readonly name: string
  /** The user gave no name, so it is the task's. The broker may generate one. */
  readonly unnamed?: boolean
  /** Task options of this broker, such as `exchange`. The adapter refuses unknown ones with `ConfigError`. */
  readonly options: Readonly<Record<string, unknown>>
}

export interface OutboundMessage {
  readonly queue: string
  /** 1 to 63 printable ASCII characters without spaces. Core's end in a counter of 8 base-36 digits. */
  readonly id: string
  readonly body: Uint8Array
  readonly headers: Headers
  /** The message is ready this many milliseconds from now. */
  readonly delayMs: number
  /** 0 to 9; 4 is normal. A higher one runs first; within one level the order of submission holds. */
  readonly priority: number
  /** Submit options of this broker. */
  readonly options?: Readonly<Record<string, unknown>>
}

/** `refused`: certainly not stored. `unknown`: sent, without an answer. */
export type PublishResult =
  | { readonly status: 'stored' }
  | { readonly status: 'refused'; readonly error: unknown }
  | { readonly status: 'unknown'; readonly error: unknown }

/** A job that a consumer holds. Core settles it with the same object, which may have more fields. */
export interface Delivery {
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly priority: number
  /** How many owners of the job were lost. */
  readonly deliveryCount: number
  readonly storedAtMs?: number
  /** Why the body cannot be JSON, by its content type. Core dead-letters the job. */
  readonly undecodable?: string
  /** A caller waits for the job (`Calls`). Rejecting it reports the failure and keeps no dead letter. */
  readonly foreground?: boolean
}

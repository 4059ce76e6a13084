import type { ConfirmChannel, Message, Options } from 'amqplib'
import { BrokerError, type PublishResult } from '@zyqueue/core/broker'
import { refusalOf } from '../errors.ts'

/** The minimum time between two replacements of a channel after a nack. */
const FRESH_MS = 500

/** One message to publish. */
export interface Outgoing {
  readonly exchange: string
  readonly routingKey: string
  readonly body: Buffer
  readonly properties: Options.Publish
}

/** `unread`: the server closed the channel because of an earlier message and did not read this one, so it may be sent again. */
export type Outcome = PublishResult | 'unread'

export const STORED: PublishResult = Object.freeze({ status: 'stored' })

/** Messages that are published together, and their results. */
export class Batch {
  readonly messages: readonly Outgoing[]
  readonly #results: (Outcome | undefined)[]
  readonly #done: (results: readonly Outcome[]) => void
  #open: number
  /** Why the server returned messages, by their index. A return comes before the confirm. */
  #returned: Map<number, string> | undefined

  constructor(messages: readonly Outgoing[], done: (results: readonly Outcome[]) => void) {
    this.messages = messages
    this.#results = Array.from({ length: messages.length })
    this.#open = messages.length
    this.#done = done
  }

  /** The messages without a result. */
  *open(): Iterable<readonly [number, Outgoing]> {
    for (const entry of this.messages.entries()) if (this.#results[entry[0]] === undefined) yield entry
  }

  returned(index: number): string | undefined {
    return this.#returned?.get(index)
  }

  /** A return has no delivery tag, so it is matched by its fields. Each of several equal messages is returned. */
  noteReturn({ fields, properties }: Message): boolean {
    const index = this.messages.findIndex(
      ({ exchange, routingKey, properties: { messageId } }, at) =>
        messageId === properties.messageId &&
        routingKey === fields.routingKey &&
        exchange === fields.exchange &&
        this.#results[at] === undefined &&
        this.#returned?.has(at) !== true,
    )
    if (index === -1) return false
    const text: unknown = Reflect.get(fields, 'replyText')
    this.#returned ??= new Map()
    this.#returned.set(index, typeof text === 'string' ? text : 'NO_ROUTE')
    return true
  }

  settle(index: number, result: Outcome): void {
    if (this.#results[index] !== undefined) return
    this.#results[index] = result
    if (--this.#open === 0) this.#done(this.#results.map((each) => each ?? result))
  }

  settleAll(result: PublishResult): void {
    for (const index of this.messages.keys()) this.settle(index, result)
  }
}

/** One confirm channel with its unconfirmed messages. */
export class PublishChannel {
  readonly #channel: ConfirmChannel
  readonly #batches = new Set<Batch>()
  readonly #since = performance.now()
  readonly #forget: () => void
  readonly #onStored: (routingKey: string) => void
  #failure: unknown
  #sent = 0
  /** Messages that the server has not answered yet. */
  #pending = 0
  /** Whether the server has read and answered a message. */
  #hasAnswered = false
  #hasRefused = false
  #isRetired = false

  /** `forget` is called when no more messages must be sent on this channel. */
  constructor(channel: ConfirmChannel, forget: () => void, onStored: (routingKey: string) => void) {
    this.#channel = channel
    this.#forget = forget
    this.#onStored = onStored
    channel.on('return', (message) => {
      for (const batch of this.#batches) if (batch.noteReturn(message)) return
    })
    channel.on('error', (error) => (this.#failure ??= error))
  }

  /** Whether this object closed the channel, because no more messages will be sent on it. */
  get isDone(): boolean {
    return this.#isRetired && this.#batches.size === 0
  }

  send(batch: Batch, index: number): void {
    const message = batch.messages[index]
    if (message === undefined) return
    const { exchange, routingKey, body, properties } = message
    this.#batches.add(batch)
    try {
      this.#channel.publish(exchange, routingKey, body, properties, (error: unknown) =>
        batch.settle(index, this.#settled(batch, index, error)),
      )
      this.#sent++
      this.#pending++
    } catch (error) {
      // Nothing was sent: the channel is closed, or amqplib could not encode the message.
      const isClosed = this.#failure !== undefined || this.#isRetired
      batch.settle(index, isClosed ? 'unread' : { status: 'refused', error })
    }
  }

  leave(batch: Batch): void {
    this.#batches.delete(batch)
    this.#closeIfDone()
  }

  /** Sends no more messages. Unconfirmed messages may still be answered. */
  retire(): void {
    if (this.#isRetired) return
    this.#isRetired = true
    this.#forget()
    this.#closeIfDone()
  }

  #closeIfDone(): void {
    if (this.isDone) this.#channel.close().catch(() => undefined)
  }

  /** Called in the order in which the messages were sent if the channel fails. */
  #settled(batch: Batch, index: number, error: unknown): Outcome {
    const message = batch.messages[index]
    const isLast = --this.#pending === 0
    if (error === null || message === undefined) return this.#confirmed(batch, index)
    return this.#failed(message, error, isLast)
  }

  #confirmed(batch: Batch, index: number): PublishResult {
    this.#hasAnswered = true
    const returned = batch.returned(index)
    const message = batch.messages[index]
    if (message !== undefined) this.#onStored(message.routingKey)
    if (returned === undefined || message === undefined) return STORED
    return { status: 'refused', error: unroutable(message, returned) }
  }

  #failed(message: Outgoing, error: unknown, isLast: boolean): Outcome {
    if (error instanceof Error && error.message === 'message nacked') {
      this.#hasAnswered = true
      // A channel that saw a quorum queue without a leader may refuse messages after the queue has one again.
      if (performance.now() - this.#since > FRESH_MS) this.retire()
      return { status: 'refused', error: nacked(message) }
    }
    const failure = this.#failure ?? error
    // If the server refuses an exchange that it accepted before, it may have stored all pending messages but the last.
    const isUnread = isLast || !this.#hasAnswered
    const refusal = refusalOf(failure, message, { isAlone: this.#sent === 1, isUnread })
    if (refusal !== undefined) {
      this.#hasRefused = true
      return { status: 'refused', error: refusal }
    }
    // The server read the messages before the one that it refuses, and none after it.
    return this.#hasRefused ? 'unread' : { status: 'unknown', error: failure }
  }
}

function unroutable({ exchange, routingKey }: Outgoing, reason: string): BrokerError {
  const what =
    exchange === '' ? `no queue "${routingKey}"` : `no queue at the exchange "${exchange}" for "${routingKey}"`
  return new BrokerError('ZYQ_UNROUTABLE', `RabbitMQ has ${what} (${reason})`)
}

function nacked({ routingKey }: Outgoing): BrokerError {
  return new BrokerError(
    'ZYQ_BROKER_FULL',
    `RabbitMQ refused a job for "${routingKey}": its queue is full or not available`,
  )
}

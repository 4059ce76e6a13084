import type { OutboundMessage, PublishResult, QueueSpec } from '../contract/index.ts'
import type { BatchHooks } from '../hooks/batch-hooks.ts'
import { createPublishBatches } from '../hooks/publish-batches.ts'
import { backoffMs, pause, RECONNECT } from '../connection/backoff.ts'
import type { Connection } from '../connection/connection.ts'
import { keepAlive } from '../keep-alive.ts'
import { publishOnce, type Item } from './publish-once.ts'

/** Batches in flight at once, so that the connection is busy while the broker answers one. */
const MAX_IN_FLIGHT = 4
/** A batch is full at this many bytes of bodies, whatever its count. */
export const MAX_BATCH_BYTES: number = 4 * 1024 * 1024
/** How long a message waits for an unavailable broker before it is refused. */
const BROKER_TIMEOUT_MS = 10_000

/** Messages of one caller that are answered together. */
interface PendingSubmit {
  readonly queue: QueueSpec
  readonly messages: readonly OutboundMessage[]
  readonly bytes: number
  readonly settle: (results: readonly PublishResult[]) => void
}

/**
 * Publishes messages: batches the submits of one event loop turn, with a bounded number of batches in flight.
 *
 * It retries only if the message surely was not sent, or if the broker deduplicates by id. Otherwise the caller must decide.
 */
export class Producer {
  readonly connection: Connection
  readonly #maxBatch: number
  #waiting: PendingSubmit[] = []
  /** The index of the first waiting submit. Removing each batch from the array would move all entries behind it. */
  #next = 0
  #inFlight = 0
  #scheduled = false
  #release: (() => void) | undefined
  #whenIdle: (() => void)[] = []
  /** Submits that a publish hook has not answered yet. */
  readonly #inHooks = new Set<Promise<unknown>>()
  readonly #hooked = createPublishBatches((queue, messages) => this.publishAll(queue, messages))

  constructor(connection: Connection) {
    this.connection = connection
    this.#maxBatch = connection.broker.capabilities.maxBatch
  }

  /**
   * Publishes at most `maxBatch` messages to one queue, through the task's publish hook if it has one. Never rejects: each
   * message has a result, with a `ZyQueueError`.
   */
  publish(
    queue: QueueSpec,
    messages: readonly OutboundMessage[],
    hooks?: BatchHooks,
  ): Promise<readonly PublishResult[]> {
    if (hooks?.publish !== undefined) {
      const release = keepAlive()
      const passing = this.#hooked.add(hooks, { queue, messages }).finally(() => {
        release()
        this.#inHooks.delete(passing)
      })
      this.#inHooks.add(passing)
      return passing
    }
    return new Promise((settle) => {
      this.#waiting.push({ queue, messages, bytes: bytesOf(messages), settle })
      this.#release ??= keepAlive()
      this.#schedule()
    })
  }

  /** Publishes any number of messages to one queue, in batches. */
  async publishAll(
    queue: QueueSpec,
    messages: readonly OutboundMessage[],
    hooks?: BatchHooks,
  ): Promise<readonly PublishResult[]> {
    const batches: Promise<readonly PublishResult[]>[] = []
    let start = 0
    let bytes = 0
    for (const [index, { body }] of messages.entries()) {
      bytes += body.byteLength
      if (index === start || (index - start < this.#maxBatch && bytes <= MAX_BATCH_BYTES)) continue
      batches.push(this.publish(queue, messages.slice(start, index), hooks))
      start = index
      bytes = body.byteLength
    }
    if (start < messages.length) batches.push(this.publish(queue, messages.slice(start), hooks))
    return (await Promise.all(batches)).flat()
  }

  /** Resolves when no message is pending. */
  async idle(): Promise<void> {
    while (this.#inHooks.size > 0) await Promise.all(this.#inHooks)
    if (this.#release !== undefined) await new Promise<void>((idle) => this.#whenIdle.push(idle))
  }

  /** Waits for pending messages, then closes the connection. */
  async close(): Promise<void> {
    await this.idle()
    await this.connection.close()
  }

  #schedule(): void {
    if (this.#scheduled || this.#inFlight >= MAX_IN_FLIGHT) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#pump()
    })
  }

  #pump(): void {
    while (this.#next < this.#waiting.length && this.#inFlight < MAX_IN_FLIGHT) {
      this.#inFlight++
      void this.#send(this.#takeBatch())
    }
    if (this.#inFlight > 0) return
    this.#release?.()
    this.#release = undefined
    for (const idle of this.#whenIdle.splice(0)) idle()
  }

  #takeBatch(): readonly PendingSubmit[] {
    let count = 0
    let bytes = 0
    let end = this.#next
    for (; end < this.#waiting.length; end++) {
      const submit = this.#waiting[end]
      count += submit?.messages.length ?? 0
      bytes += submit?.bytes ?? 0
      if (end > this.#next && (count > this.#maxBatch || bytes > MAX_BATCH_BYTES)) break
    }
    const submits = this.#waiting.slice(this.#next, end)
    this.#next = end
    if (end === this.#waiting.length) {
      this.#waiting = []
      this.#next = 0
    } else if (end > this.#waiting.length / 2) {
      this.#waiting = this.#waiting.slice(end)
      this.#next = 0
    }
    return submits
  }

  async #send(submits: readonly PendingSubmit[]): Promise<void> {
    const items: Item[] = []
    for (const { queue, messages } of submits) for (const message of messages) items.push({ queue, message })
    const results = await this.#publishWithRetry(items)
    let start = 0
    for (const { messages, settle } of submits) {
      settle(submits.length === 1 ? results : results.slice(start, start + messages.length))
      start += messages.length
    }
    this.#inFlight--
    this.#pump()
  }

  async #publishWithRetry(items: readonly Item[]): Promise<readonly PublishResult[]> {
    const since = performance.now()
    const first = await publishOnce(this.connection, items)
    const results = first.map(({ result }) => result)
    let open = indexesWhere(first, ({ mayRetry }) => mayRetry)
    for (let tries = 0; open.length > 0 && performance.now() - since < BROKER_TIMEOUT_MS; tries++) {
      await pause(backoffMs(RECONNECT, tries))
      const attempts = await publishOnce(this.connection, pick(items, open))
      for (const [position, index] of open.entries()) {
        const result = attempts[position]?.result
        // If an earlier try has an unknown outcome, a refusal of the retry does not change that.
        if (result !== undefined && (result.status === 'stored' || results[index]?.status !== 'unknown')) {
          results[index] = result
        }
      }
      const retried = open
      open = indexesWhere(attempts, ({ mayRetry }) => mayRetry).flatMap((position) => retried[position] ?? [])
    }
    return results
  }
}

function bytesOf(messages: readonly OutboundMessage[]): number {
  let bytes = 0
  for (const { body } of messages) bytes += body.byteLength
  return bytes
}

function indexesWhere<Value>(values: readonly Value[], isMeant: (value: Value) => boolean): readonly number[] {
  const indexes: number[] = []
  for (const [index, value] of values.entries()) if (isMeant(value)) indexes.push(index)
  return indexes
}

function pick<Value>(values: readonly Value[], indexes: readonly number[]): Value[] {
  return indexes.flatMap((index) => values[index] ?? [])
}

import type { OutboundMessage, QueueSpec } from '../contract/index.ts'
import { ConfigError } from '../errors.ts'
import type { BatchHooks } from '../hooks/batch-hooks.ts'
import { keepAlive } from '../keep-alive.ts'
import { createIdSeries } from '../messages/job-id.ts'
import type { SubmitOptions } from '../tasks/options.ts'
import { JobHandles } from './job-handles.ts'
import { MAX_BATCH_BYTES, type Producer } from './producer.ts'
import { SubmitError, type FailedSubmission } from './submit-error.ts'

/** Batches in flight at once. */
const MAX_CHUNKS = 4
/** How long a job of an asynchronous source waits for a full batch. */
const LINGER_MS = 50

export interface SubmitProgress {
  /** Jobs read from the source. */
  readonly submitted: number
  /** Jobs that the broker has stored. */
  readonly stored: number
}

export interface SubmitManyOptions extends SubmitOptions {
  /** Called after each batch. */
  readonly onProgress?: (progress: SubmitProgress) => void
}

interface Stream {
  readonly source: Iterable<unknown> | AsyncIterable<unknown>
  readonly producer: Producer
  readonly queue: QueueSpec
  readonly task: string
  readonly hooks: BatchHooks | undefined
  readonly message: (id: string, data: unknown) => OutboundMessage | Promise<OutboundMessage>
  readonly onProgress?: (progress: SubmitProgress) => void
}

/** See `Task.submitMany`. */
export async function submitStream(stream: Stream): Promise<JobHandles> {
  assertIterable(stream.source)
  const release = keepAlive()
  try {
    return await new StreamSubmission(stream).run()
  } finally {
    release()
  }
}

function assertIterable(source: unknown): void {
  const isObject = typeof source === 'object' && source !== null
  if (isObject && (Symbol.iterator in source || Symbol.asyncIterator in source)) return
  throw new ConfigError('ZYQ_CONFIG', 'submitMany: the source must be an iterable or async iterable of jobs.')
}

class StreamSubmission {
  readonly #stream: Stream
  readonly #idAt = createIdSeries()
  readonly #chunkSize: number
  #chunk: OutboundMessage[] = []
  #chunkBytes = 0
  #lingering: NodeJS.Timeout | undefined
  #submitted = 0
  #stored = 0
  /** The error of the source, of the data or of `onProgress`. */
  #failure: { readonly error: unknown } | undefined
  readonly #refused: FailedSubmission[] = []
  readonly #unknown: FailedSubmission[] = []
  readonly #inFlight = new Set<Promise<void>>()

  constructor(stream: Stream) {
    this.#stream = stream
    this.#chunkSize = stream.producer.connection.broker.capabilities.maxBatch
  }

  async run(): Promise<JobHandles> {
    try {
      await this.#read()
    } catch (error) {
      this.#failure ??= { error }
    }
    // Jobs that were read before a failure are sent too, so that the error lists the outcome of each.
    this.#sendChunk()
    while (this.#inFlight.size > 0) await Promise.race(this.#inFlight)
    const { task, queue } = this.#stream
    const first = this.#failure ?? this.#refused[0] ?? this.#unknown[0]
    if (first === undefined) return new JobHandles(task, queue.name, this.#stored, this.#idAt)
    if (this.#stored === 0 && this.#unknown.length === 0) throw first.error
    throw new SubmitError(this.#storedHandles(), this.#refused, this.#unknown, first.error)
  }

  async #read(): Promise<void> {
    const { source } = this.#stream
    // A synchronous source is not awaited for each item, because that would cost more than the jobs.
    if (Symbol.iterator in source) {
      for (const data of source) {
        const full = this.#take(data)
        if (full !== undefined && !(await full)) return
      }
    } else {
      for await (const data of source) {
        if ((await this.#take(data)) === false || this.#hasFailed) return
        this.#lingering ??= setTimeout(() => this.#sendLate(), LINGER_MS)
      }
    }
  }

  /** Adds one job. Returns a promise if the caller must wait. It resolves to false if the caller must stop. */
  #take(data: unknown): Promise<boolean> | undefined {
    const message = this.#stream.message(this.#idAt(this.#submitted), data)
    if (message instanceof Promise) return message.then((made) => this.#push(made) ?? true)
    return this.#push(message)
  }

  #push(message: OutboundMessage): Promise<boolean> | undefined {
    const bytes = message.body.byteLength
    if (this.#chunk.length > 0 && this.#chunkBytes + bytes > MAX_BATCH_BYTES) this.#sendChunk()
    this.#submitted++
    this.#chunk.push(message)
    this.#chunkBytes += bytes
    const isFull = this.#chunk.length >= this.#chunkSize || this.#chunkBytes >= MAX_BATCH_BYTES
    if (isFull) this.#sendChunk()
    return isFull || this.#inFlight.size > MAX_CHUNKS ? this.#room() : undefined
  }

  async #room(): Promise<boolean> {
    while (this.#inFlight.size >= MAX_CHUNKS) await Promise.race(this.#inFlight)
    return !this.#hasFailed
  }

  get #hasFailed(): boolean {
    return this.#failure !== undefined || this.#refused.length > 0 || this.#unknown.length > 0
  }

  /** Sends an incomplete chunk, so that a slow source does not delay jobs. */
  #sendLate(): void {
    if (this.#inFlight.size < MAX_CHUNKS) this.#sendChunk()
    else this.#lingering = setTimeout(() => this.#sendLate(), LINGER_MS)
  }

  #sendChunk(): void {
    clearTimeout(this.#lingering)
    this.#lingering = undefined
    const messages = this.#chunk
    if (messages.length === 0) return
    const start = this.#submitted - messages.length
    this.#chunk = []
    this.#chunkBytes = 0
    const sending = this.#send(messages, start).finally(() => this.#inFlight.delete(sending))
    this.#inFlight.add(sending)
  }

  /** Never rejects. */
  async #send(messages: readonly OutboundMessage[], start: number): Promise<void> {
    const { producer, queue, hooks, onProgress } = this.#stream
    const results = await producer.publish(queue, messages, hooks)
    for (const [offset, result] of results.entries()) {
      if (result.status === 'stored') this.#stored++
      else {
        const failures = result.status === 'unknown' ? this.#unknown : this.#refused
        failures.push({ index: start + offset, error: result.error })
      }
    }
    try {
      onProgress?.({ submitted: this.#submitted, stored: this.#stored })
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  #storedHandles() {
    const { task, queue } = this.#stream
    const failed = new Set([...this.#refused, ...this.#unknown].map(({ index }) => index))
    const indexes = Array.from({ length: this.#submitted }, (_, index) => index).filter((index) => !failed.has(index))
    return indexes.map((index) => ({ id: this.#idAt(index), task, queue: queue.name }))
  }
}

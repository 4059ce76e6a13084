import type { CallRequest, CallResult, LostDelivery, OutboundMessage } from '../contract/index.ts'
import { BrokerError } from '../errors.ts'
import { systemClock, type Clock } from './clock.ts'
import type { MemoryConsumer } from './memory-consumer.ts'
import { MemoryQueue } from './memory-queue.ts'

/** The caller that waits for a job's end. */
export interface MemoryCall {
  readonly onUpdate: CallRequest['onUpdate']
  end(result: CallResult): void
}

/** The queues with their jobs and the consumers with their leases. Several in-memory brokers may share a store. */
export class MemoryStore {
  readonly clock: Clock
  readonly #queues = new Map<string, MemoryQueue>()
  readonly #consumers = new Map<string, MemoryConsumer>()
  /** By job id. */
  readonly #calls = new Map<string, MemoryCall>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  declare(name: string): void {
    if (!this.#queues.has(name)) this.#queues.set(name, new MemoryQueue(name, this.clock))
  }

  queues(): readonly MemoryQueue[] {
    return [...this.#queues.values()]
  }

  /** Throws `ZYQ_QUEUE_NOT_FOUND` if the queue was not declared. */
  queue(name: string): MemoryQueue {
    const queue = this.#queues.get(name)
    if (queue === undefined) throw new BrokerError('ZYQ_QUEUE_NOT_FOUND', `There is no queue '${name}' in memory.`)
    return queue
  }

  consumers(): readonly MemoryConsumer[] {
    return [...this.#consumers.values()]
  }

  /** Adds a consumer. Its lease can then be renewed and reclaimed. */
  addConsumer(consumer: MemoryConsumer): void {
    if (this.#consumers.has(consumer.id)) {
      throw new BrokerError('ZYQ_BROKER', `A consumer with the id '${consumer.id}' is open already.`)
    }
    this.#consumers.set(consumer.id, consumer)
  }

  removeConsumer(consumer: MemoryConsumer): void {
    this.#consumers.delete(consumer.id)
  }

  /** Stores checked messages and wakes the consumers that wait for them. */
  publish(messages: readonly OutboundMessage[]): void {
    const queues = new Set<MemoryQueue>()
    for (const message of messages) {
      const queue = this.queue(message.queue)
      queue.store(message)
      queues.add(queue)
    }
    for (const queue of queues) queue.wake()
  }

  /** Publishes a message for a call. `onCall` gets the function that ends the call. */
  call(
    message: OutboundMessage,
    { signal, onUpdate }: CallRequest,
    onCall: (call: MemoryCall) => void,
  ): Promise<CallResult> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        signal.removeEventListener('abort', onAbort)
        this.#calls.delete(message.id)
      }
      const onAbort = (): void => {
        stop()
        // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- It is the caller's own.
        reject(signal.reason)
      }
      const call: MemoryCall = {
        onUpdate,
        end(result) {
          stop()
          resolve(result)
        },
      }
      signal.addEventListener('abort', onAbort)
      this.#calls.set(message.id, call)
      onCall(call)
      if (signal.aborted) onAbort()
      else this.publish([message])
    })
  }

  /** The caller that waits for this job, if there is one. */
  callOf(jobId: string): MemoryCall | undefined {
    return this.#calls.get(jobId)
  }

  /** Renews leases. Returns the ids whose lease has ended. */
  renew(consumerIds: readonly string[], leaseMs: number): readonly string[] {
    return consumerIds.filter((id) => {
      const consumer = this.#consumers.get(id)
      consumer?.renew(leaseMs)
      return consumer === undefined
    })
  }

  reclaim(consumerId: string, lost: readonly LostDelivery[]): void {
    this.#consumers.get(consumerId)?.loseLease(lost)
  }
}

/** Creates a store that the brokers of one test share. */
export function createMemoryStore(options: { readonly clock?: Clock } = {}): MemoryStore {
  return new MemoryStore(options.clock ?? systemClock)
}

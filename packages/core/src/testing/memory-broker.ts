import type {
  Broker,
  BrokerAdmin,
  BrokerCapabilities,
  CallOptions,
  CallResult,
  Charge,
  Consumer,
  ConsumeOptions,
  OutboundMessage,
  PublishResult,
  QueueSpec,
} from '../broker/contract.ts'
import type { CodeOf } from '../error-codes.ts'
import { BrokerError, ConfigError } from '../errors.ts'
import { createMemoryAdmin } from './memory-admin.ts'
import { MemoryConsumer } from './memory-consumer.ts'
import { createMemoryStore, type MemoryCall, type MemoryStore } from './memory-store.ts'

const capabilities: BrokerCapabilities = Object.freeze({
  durable: false,
  delay: 'native',
  lease: 'renewable',
  deadLetter: 'native',
  deliveryCount: 'native',
  priorities: 10,
  release: 'native',
  idempotentPublish: true,
  call: 'native',
  maxBatch: 1000,
  maxBodyBytes: 16 * 1024 * 1024,
})

/**
 * A broker in the memory of this process, with everything that a broker can do. Brokers on one store share its jobs, as
 * a producer and a worker do; without a store it has one of its own. It is strict where core is bound by the contract:
 * before `connect`, on a queue that was not declared and on a batch that is too long, it rejects.
 */
export function createMemoryBroker(store: MemoryStore = createMemoryStore()): Broker {
  return new MemoryBroker(store)
}

class MemoryBroker implements Broker {
  readonly name = 'memory'
  readonly capabilities = capabilities
  readonly admin: BrokerAdmin
  readonly #store: MemoryStore
  readonly #calls = new Set<MemoryCall>()
  #mode: 'new' | 'connected' | 'closed' = 'new'

  constructor(store: MemoryStore) {
    this.#store = store
    this.admin = createMemoryAdmin(store, () => this.#assertConnected())
  }

  async connect(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    options.signal?.throwIfAborted()
    if (this.#mode === 'new') this.#mode = 'connected'
    this.#assertConnected()
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    this.#assertConnected()
    for (const queue of queues) assertNoOptions(queue.options)
    for (const queue of queues) this.#store.declare(queue.name)
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    this.#assertConnected()
    if (batch.length > capabilities.maxBatch) {
      throw new BrokerError('ZYQ_BROKER', `A batch of ${batch.length} is longer than ${capabilities.maxBatch}.`)
    }
    const accepted: OutboundMessage[] = []
    const results = batch.map((message): PublishResult => {
      try {
        this.#assertStorable(message)
      } catch (error) {
        return { status: 'refused', error }
      }
      accepted.push(message)
      return { status: 'stored' }
    })
    this.#store.publish(accepted)
    return results
  }

  async call(message: OutboundMessage, options: CallOptions): Promise<CallResult> {
    this.#assertConnected()
    try {
      this.#assertStorable(message)
    } catch (error) {
      return { status: 'refused', error }
    }
    return this.#store.call(message, options, (call) => this.#calls.add(call))
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    this.#assertConnected()
    for (const queue of options.queues) assertNoOptions(queue.options)
    return new MemoryConsumer(this.#store, options, this)
  }

  async renew(consumerIds: readonly string[], leaseMs: number): Promise<readonly string[]> {
    this.#assertConnected()
    return this.#store.renew(consumerIds, leaseMs)
  }

  async reclaim(consumerId: string, charged: readonly Charge[]): Promise<void> {
    this.#assertConnected()
    this.#store.reclaim(consumerId, charged)
  }

  errorCode(error: unknown): CodeOf<'broker'> {
    try {
      return error instanceof BrokerError ? error.code : 'ZYQ_BROKER'
    } catch {
      // A revoked proxy throws at whoever looks at it.
      return 'ZYQ_BROKER'
    }
  }

  async close(): Promise<void> {
    this.#mode = 'closed'
    const own = this.#store.consumers().filter((consumer) => consumer.owner === this)
    await Promise.all(own.map((consumer) => consumer.close()))
    const error = new BrokerError('ZYQ_CLOSED', 'The broker was closed.')
    for (const call of this.#calls) call.end({ status: 'unknown', error })
  }

  #assertConnected(): void {
    if (this.#mode === 'closed') throw new BrokerError('ZYQ_CLOSED', 'The broker was closed.')
    if (this.#mode === 'new') throw new BrokerError('ZYQ_UNREACHABLE', 'The broker is not connected yet.')
  }

  #assertStorable(message: OutboundMessage): void {
    assertNoOptions(message.options ?? {})
    this.#store.queue(message.queue)
    if (message.body.byteLength > capabilities.maxBodyBytes) {
      throw new BrokerError(
        'ZYQ_BODY_TOO_LARGE',
        `${message.body.byteLength} bytes: more than ${capabilities.maxBodyBytes}.`,
      )
    }
  }
}

function assertNoOptions(options: Readonly<Record<string, unknown>>): void {
  const [unknown] = Object.keys(options)
  if (unknown !== undefined) throw new ConfigError('ZYQ_CONFIG', `The memory broker has no option '${unknown}'.`)
}

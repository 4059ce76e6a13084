import type {
  Answer,
  Broker,
  BrokerAdmin,
  BrokerCapabilities,
  Calls,
  Consumer,
  ConsumeOptions,
  Leases,
  OutboundMessage,
  PublishResult,
  QueueSpec,
  SettleResult,
} from '../contract/index.ts'
import { errorCodeFrom } from '../adapter/error-code-from.ts'
import { faultOf, refuseUnknownOptions } from '../adapter/checks.ts'
import { BrokerError } from '../errors.ts'
import { createMemoryAdmin } from './memory-admin.ts'
import { MemoryConsumer, MemoryDelivery } from './memory-consumer.ts'
import { createMemoryStore, type MemoryCall, type MemoryStore } from './memory-store.ts'

/** For errors. */
const TITLE = 'memory'

const capabilities: BrokerCapabilities = Object.freeze({
  durable: false,
  delay: 'native',
  deadLetter: 'native',
  deliveryCount: 'native',
  priorities: 10,
  release: 'native',
  idempotentPublish: true,
  maxBatch: 1000,
  maxBodyBytes: 16 * 1024 * 1024,
})

/**
 * Creates a broker in the memory of this process that implements the whole contract. Brokers with the same store share its
 * jobs; without a store, the broker has its own. It checks the contract strictly: it rejects calls before `connect`, queues
 * that are not declared, and batches that are too long.
 */
export function createMemoryBroker(store: MemoryStore = createMemoryStore()): Broker {
  return new MemoryBroker(store)
}

class MemoryBroker implements Broker {
  readonly name = 'memory'
  readonly capabilities = capabilities
  readonly admin: BrokerAdmin
  readonly leases: Leases
  readonly calls: Calls
  readonly #store: MemoryStore
  readonly #pendingCalls = new Set<MemoryCall>()
  #mode: 'new' | 'connected' | 'closed' = 'new'

  constructor(store: MemoryStore) {
    this.#store = store
    this.admin = createMemoryAdmin(store, () => this.#assertConnected())
    this.leases = {
      kind: 'renewable',
      renew: async (consumerIds, leaseMs) => {
        this.#assertConnected()
        return this.#store.renew(consumerIds, leaseMs)
      },
      reclaim: async (consumerId, lost) => {
        this.#assertConnected()
        this.#store.reclaim(consumerId, lost)
      },
    }
    this.calls = {
      call: async (message, options) => {
        this.#assertConnected()
        try {
          this.#assertStorable(message)
        } catch (error) {
          return { status: 'refused', error }
        }
        return this.#store.call(message, options, (call) => this.#pendingCalls.add(call))
      },
      answer: async (answers) => answerAll(answers),
      sendUpdate(delivery, update) {
        if (delivery instanceof MemoryDelivery) delivery.consumer.sendUpdate(delivery, update)
      },
    }
  }

  async connect(): Promise<void> {
    if (this.#mode === 'new') this.#mode = 'connected'
    this.#assertConnected()
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    this.#assertConnected()
    for (const queue of queues) refuseUnknownOptions(TITLE, queue.options)
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

  async consume(options: ConsumeOptions): Promise<Consumer> {
    this.#assertConnected()
    for (const queue of options.queues) refuseUnknownOptions(TITLE, queue.options)
    return new MemoryConsumer(this.#store, options, this)
  }

  readonly errorCode = errorCodeFrom(() => undefined)

  async close(): Promise<void> {
    this.#mode = 'closed'
    const own = this.#store.consumers().filter((consumer) => consumer.owner === this)
    await Promise.all(own.map((consumer) => consumer.close()))
    const error = new BrokerError('ZYQ_CLOSED', 'The broker was closed.')
    for (const call of this.#pendingCalls) call.end({ status: 'unknown', error })
  }

  #assertConnected(): void {
    if (this.#mode === 'closed') throw new BrokerError('ZYQ_CLOSED', 'The broker was closed.')
    if (this.#mode === 'new') throw new BrokerError('ZYQ_UNREACHABLE', 'The broker is not connected yet.')
  }

  #assertStorable(message: OutboundMessage): void {
    refuseUnknownOptions(TITLE, message.options)
    this.#store.queue(message.queue)
    const fault = faultOf(TITLE, message, capabilities.maxBodyBytes)
    if (fault !== undefined) throw fault
  }
}

async function answerAll(answers: readonly Answer[]): Promise<readonly SettleResult[]> {
  const [first] = answers
  if (first?.delivery instanceof MemoryDelivery) return first.delivery.consumer.answer(answers)
  return answers.map(() => ({ status: 'lease-lost' }))
}

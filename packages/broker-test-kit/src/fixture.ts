import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  Broker,
  BrokerCapabilities,
  Consumer,
  ConsumeOptions,
  Delivery,
  OutboundMessage,
  QueueSpec,
  Rejection,
  Release,
} from '@zyqueue/core/broker'
import { expectStatuses, nameOf } from './expect-statuses.ts'
import type { BrokerHarness } from './harness.ts'
import { trackHeld } from './track-held.ts'
import { waitFor, withTimeout } from './wait-for.ts'
import { reclaimOf } from './reclaim.ts'
import { bytesOf, consumeOptions, messageTo, newConsumerId, queueSpec, textOf } from './test-data.ts'

/** Twice the "about ten seconds" after which the contract ends a call without an answer. */
const MAX_TIMEOUT_MS = 20_000

/** An owner of jobs that a test will lose without notice to the broker. */
export interface LosableOwner {
  readonly broker: Broker
  readonly consumer: Consumer
  readonly consumerId: string
  /** Cuts the connection of the owner, or lets its lease end. */
  lose(): Promise<void>
}

/** The brokers and queues of one test. Closes everything that it has opened at the end. */
export class Fixture {
  /** A connected broker. */
  readonly broker: Broker
  readonly capabilities: BrokerCapabilities
  /** The short lease of the harness, or its message timeout. */
  readonly leaseMs: number
  readonly timeoutMs: number
  readonly #harness: BrokerHarness
  readonly #brokers: Broker[]
  /** The fixture for the time after a restart of the engine. */
  #next: Fixture | undefined
  /** The position of each stored message, by its id. */
  readonly #places = new Map<string, number>()
  readonly #queues = new Set<string>()
  readonly #queuesOf = new WeakMap<Consumer, readonly QueueSpec[]>()

  private constructor(harness: BrokerHarness, broker: Broker) {
    this.#harness = harness
    this.#brokers = [broker]
    this.broker = broker
    this.capabilities = broker.capabilities
    this.leaseMs = harness.messageTimeoutMs ?? harness.leaseMs ?? 1000
    this.timeoutMs = timeoutOf(harness)
  }

  static async open(harness: BrokerHarness): Promise<Fixture> {
    const fixture = new Fixture(harness, await harness.createBroker())
    await fixture.withTimeout('connect()', fixture.broker.connect())
    return fixture
  }

  /** Closes every broker that this test has created. */
  async close(): Promise<void> {
    await Promise.all(this.#brokers.map((broker) => this.withTimeout('close()', broker.close())))
    await this.#next?.close()
  }

  /** Settles as the promise does, or rejects after `timeoutMs` of the harness. */
  withTimeout<Value>(what: string, promise: Promise<Value>): Promise<Value> {
    return withTimeout(`${what} settles`, promise, this.timeoutMs)
  }

  /** As `withTimeout`, for calls that get no answer: an adapter must end them within about ten seconds. */
  withLongTimeout<Value>(what: string, promise: Promise<Value>): Promise<Value> {
    return withTimeout(`${what} settles`, promise, Math.min(2 * this.timeoutMs, MAX_TIMEOUT_MS))
  }

  /** A promise that the test awaits later. If the test fails before that, a rejection of the promise is ignored. */
  inBackground<Value>(promise: Promise<Value>): Promise<Value> {
    promise.catch(() => undefined)
    return promise
  }

  eventually<Value>(
    what: string | (() => string),
    probe: () => Value | Promise<Value>,
    timeoutMs: number = this.timeoutMs,
  ): Promise<Exclude<Value, false | undefined>> {
    return waitFor(what, probe, timeoutMs)
  }

  async newBroker(): Promise<Broker> {
    const broker = await this.#harness.createBroker()
    this.#brokers.push(broker)
    return broker
  }

  async connectedBroker(): Promise<Broker> {
    const broker = await this.newBroker()
    await this.withTimeout('connect()', broker.connect())
    return broker
  }

  /** A connected broker whose `admin.check` must return a finding. */
  async brokerWithFinding(): Promise<Broker> {
    const broker = await this.#harness.brokerWithFinding?.()
    assert.ok(broker, 'the harness must have brokerWithFinding')
    this.#brokers.push(broker)
    await this.withTimeout('connect()', broker.connect())
    return broker
  }

  /** Adds the queues of the test to the message of an error. */
  explain(error: unknown): void {
    if (!(error instanceof Error)) return
    const names = [...this.#queues]
    const more = names.length > 10 ? ` and ${names.length - 10} more` : ''
    error.message += `\nQueues of this test: ${names.slice(0, 10).join(', ') || 'none'}${more}`
  }

  /** Declares a queue with a new name. */
  async queue(): Promise<QueueSpec> {
    const queue = queueSpec()
    this.#queues.add(queue.name)
    await this.withTimeout('declare()', this.broker.declare([queue]))
    return queue
  }

  /** Publishes messages in as many batches as needed. All must be stored. */
  async store(messages: readonly OutboundMessage[]): Promise<void> {
    const { maxBatch } = this.capabilities
    for (const { id, queue } of messages) {
      this.#places.set(id, this.#places.size)
      this.#queues.add(queue)
    }
    for (let start = 0; start < messages.length; start += maxBatch) {
      const batch = messages.slice(start, start + maxBatch)
      const results = await this.withTimeout('publish()', this.broker.publish(batch))
      expectStatuses('publish()', batch, results, 'stored')
    }
  }

  /** Publishes messages with these bodies to one queue and returns their ids. */
  async storeBodies(queue: QueueSpec, ...bodies: readonly string[]): Promise<readonly string[]> {
    const messages = bodies.map((body) => messageTo(queue, { body: bytesOf(body) }))
    await this.store(messages)
    return messages.map((message) => message.id)
  }

  async consumer(
    queues: readonly QueueSpec[],
    options: Partial<ConsumeOptions> & { readonly broker?: Broker } = {},
  ): Promise<Consumer> {
    const { broker = this.broker, ...rest } = options
    const consumer = await this.withTimeout('consume()', broker.consume({ ...consumeOptions(queues), ...rest }))
    this.#queuesOf.set(consumer, queues)
    return consumer
  }

  /** A consumer with its own broker that the test will lose. It has a long lease until `lose()`. */
  async ownerToLose(queue: QueueSpec, options: Partial<ConsumeOptions> = {}): Promise<LosableOwner> {
    const broker = await this.connectedBroker()
    const consumerId = newConsumerId()
    const held = new Set<Delivery>()
    const made = await this.consumer([queue], { broker, consumerId, ...options })
    const consumer = trackHeld(made, held)
    this.#queuesOf.set(consumer, [queue])
    const lose = async (): Promise<void> => {
      const { leases } = this.broker
      if (leases.kind === 'renewable') {
        const ended = await this.withTimeout('renew()', leases.renew([consumerId], this.leaseMs))
        assert.deepEqual(ended, [], 'renew() must extend a lease that has not ended')
        return
      }
      await this.cut(broker)
      // As the supervisor does: it knows which jobs were running.
      const lost = [...held].map(({ id }) => ({ id }))
      const reclaim = reclaimOf(leases)
      if (reclaim !== undefined) await this.withTimeout('reclaim()', reclaim(consumerId, lost))
    }
    return { broker, consumer, consumerId, lose }
  }

  /** Cuts the connections of a broker, which ends its connection leases. */
  async cut(broker: Broker): Promise<void> {
    assert.ok(
      this.#harness.killConnection,
      'The leases of this broker end with a connection. Add `killConnection` to the harness, so that the suite can lose an owner.',
    )
    await this.#harness.killConnection(broker)
  }

  /** Stalls the connections of a broker: they stay open, and no bytes pass. */
  async stall(broker: Broker): Promise<void> {
    await this.#harness.stallConnection?.(broker)
  }

  /** Whether the harness can heal connections. */
  get canHeal(): boolean {
    return this.#harness.healConnection !== undefined
  }

  /** Lets new connections of the broker reach the engine again. */
  async heal(broker: Broker): Promise<void> {
    await this.#harness.healConnection?.(broker)
  }

  /** Forwards the next bytes of the broker to the engine and cuts the connection before the answer. Resolves after the cut. */
  async loseAnswer(broker: Broker): Promise<void> {
    await this.withTimeout(
      'the cut of the connection before the answer',
      Promise.resolve(this.#harness.loseAnswer?.(broker)),
    )
  }

  /** The number of open connections of the broker. */
  openConnections(broker: Broker): number {
    return this.#harness.openConnections?.(broker) ?? 0
  }

  /** Restarts the engine and returns a fixture with a new broker. */
  async restart(): Promise<Fixture> {
    // No timeout here: the harness knows how long its engine takes to start.
    await this.#harness.restart?.()
    this.#next = await Fixture.open(this.#harness)
    return this.#next
  }

  /** The longest wait for a delayed job after a restart, in ms. */
  get delayedAfterRestartMs(): number {
    return this.#harness.delayedAfterRestartMs ?? this.timeoutMs
  }

  /** Stores an unreadable value behind the jobs of the queue and returns its bytes. */
  async storeUnreadable(queue: QueueSpec): Promise<Uint8Array> {
    assert.ok(this.#harness.storeUnreadable)
    return this.#harness.storeUnreadable(queue.name)
  }

  /**
   * Receives until there are `count` deliveries. If the broker keeps no order, returns them in the order in which they were stored.
   */
  async take(consumer: Consumer, count: number, max: number = count): Promise<readonly Delivery[]> {
    const taken: Delivery[] = []
    const signal = new AbortController().signal
    const missing = (): string => {
      const queues = (this.#queuesOf.get(consumer) ?? []).map(({ name }) => name).join(', ')
      const received = taken
        .slice(-10)
        .map((job, index) => `\n  ${index + Math.max(0, taken.length - 10)}: ${nameOf(job)}`)
      return `${count} deliveries of ${queues}; ${taken.length} arrived${received.join('')}`
    }
    await this.eventually(missing, async () => {
      const room = Math.min(max, count - taken.length)
      const deliveries = await this.withTimeout('receive()', consumer.receive(room, { signal }))
      assert.ok(deliveries.length <= room, `receive(${room}) returned ${deliveries.length} deliveries`)
      taken.push(...deliveries)
      return taken.length === count
    })
    return this.#inOrder(taken)
  }

  #inOrder(deliveries: readonly Delivery[]): readonly Delivery[] {
    if (this.capabilities.ordered !== false) return deliveries
    const place = ({ id }: Delivery): number => this.#places.get(id) ?? 0
    return deliveries.toSorted((a, b) => place(a) - place(b))
  }

  async takeOne(consumer: Consumer): Promise<Delivery> {
    const [delivery] = await this.take(consumer, 1)
    assert.ok(delivery)
    return delivery
  }

  /** A new consumer and its first delivery from the queue. */
  async takeOneOf(queue: QueueSpec): Promise<{ readonly consumer: Consumer; readonly delivery: Delivery }> {
    const consumer = await this.consumer([queue])
    return { consumer, delivery: await this.takeOne(consumer) }
  }

  /**
   * Receives and acks all ready jobs of the queue. It publishes a marker and stops at it. If the broker keeps no order, it stops
   * when the figures of the queue say that no job is ready.
   */
  async takeRemaining(queue: QueueSpec): Promise<readonly Delivery[]> {
    if (this.capabilities.ordered === false) return this.#takeRemainingByFigures(queue)
    const marker = messageTo(queue, { priority: 0 })
    await this.store([marker])
    const consumer = await this.consumer([queue])
    const found: Delivery[] = []
    for (;;) {
      const delivery = await this.takeOne(consumer)
      await this.ackAll(consumer, [delivery])
      if (delivery.id === marker.id) break
      found.push(delivery)
    }
    await this.withTimeout('consumer.close()', consumer.close())
    return found
  }

  async #takeRemainingByFigures(queue: QueueSpec): Promise<readonly Delivery[]> {
    const consumer = await this.consumer([queue])
    const found: Delivery[] = []
    for (;;) {
      const [stats] = await this.withTimeout('queues()', this.broker.admin.queues([queue.name]))
      const ready = stats?.ready
      assert.ok(ready !== undefined, 'a broker that keeps no order must know how many jobs are ready')
      if (ready === 0) break
      const deliveries = await this.take(consumer, Math.min(ready, 10))
      await this.ackAll(consumer, deliveries)
      found.push(...deliveries)
    }
    await this.withTimeout('consumer.close()', consumer.close())
    return this.#inOrder(found)
  }

  /** Closes these consumers, which may hold prefetched jobs, and checks that no job of the queue is ready. */
  async expectNoneReady(queue: QueueSpec, ...consumers: readonly Consumer[]): Promise<void> {
    for (const consumer of consumers) await this.withTimeout('consumer.close()', consumer.close())
    assert.deepEqual((await this.takeRemaining(queue)).map(textOf), [])
  }

  async ackAll(consumer: Consumer, deliveries: readonly Delivery[]): Promise<void> {
    expectStatuses('ack()', deliveries, await this.withTimeout('ack()', consumer.ack(deliveries)), 'ok')
  }

  async release(consumer: Consumer, ...releases: readonly Release[]): Promise<void> {
    const results = await this.withTimeout('release()', consumer.release(releases))
    expectStatuses('release()', releases.map(deliveryOf), results, 'ok')
  }

  async reject(consumer: Consumer, ...rejections: readonly Rejection[]): Promise<void> {
    const results = await this.withTimeout('reject()', consumer.reject(rejections))
    expectStatuses('reject()', rejections.map(deliveryOf), results, 'ok')
  }

  /** Waits, so that an error can happen. No test may depend on the exact time. */
  async sleep(ms: number): Promise<void> {
    await sleep(ms)
  }
}

function deliveryOf({ delivery }: Release | Rejection): Delivery {
  return delivery
}

/** The longest wait for an expected event, in ms: long enough for a lease to end. */
export function timeoutOf({ timeoutMs, messageTimeoutMs = 0 }: BrokerHarness): number {
  return timeoutMs ?? Math.max(10_000, 5 * messageTimeoutMs)
}

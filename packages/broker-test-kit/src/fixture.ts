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

/** Twice what the contract calls about ten seconds. */
const MAX_TIMEOUT_MS = 20_000

/** An owner of jobs that a test will lose; it says no word to the broker itself. */
export interface LosableOwner {
  readonly broker: Broker
  readonly consumer: Consumer
  readonly consumerId: string
  /** From now on nobody vouches for it: its connection is cut, or its lease runs out. */
  lose(): Promise<void>
}

/** What one test works with; everything that it opens is closed at the end. */
export class Fixture {
  /** A connected broker, for what needs no other. */
  readonly broker: Broker
  readonly capabilities: BrokerCapabilities
  /** A short lease, or the message timeout of an engine that has one. */
  readonly leaseMs: number
  readonly timeoutMs: number
  readonly #harness: BrokerHarness
  readonly #brokers: Broker[]
  /** The fixture after a restart of the engine. */
  #next: Fixture | undefined
  /** The place of each stored message, by its id. */
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

  /** Closes every broker that this test has made. */
  async close(): Promise<void> {
    await Promise.all(this.#brokers.map((broker) => this.withTimeout('close()', broker.close())))
    await this.#next?.close()
  }

  /** The promise, bounded by the patience of the harness. */
  withTimeout<Value>(what: string, promise: Promise<Value>): Promise<Value> {
    return withTimeout(`${what} settles`, promise, this.timeoutMs)
  }

  /** As `withTimeout`, for what has to be given up first: the contract has an adapter do so within about ten seconds. */
  withLongTimeout<Value>(what: string, promise: Promise<Value>): Promise<Value> {
    return withTimeout(`${what} settles`, promise, Math.min(2 * this.timeoutMs, MAX_TIMEOUT_MS))
  }

  /** A promise that the test awaits later: should it fail before, nobody hears of this one's rejection, and that is well. */
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

  /** A broker in which `check` has something to find, connected. */
  async brokerWithFinding(): Promise<Broker> {
    const broker = await this.#harness.brokerWithFinding?.()
    assert.ok(broker, 'the harness has brokerWithFinding')
    this.#brokers.push(broker)
    await this.withTimeout('connect()', broker.connect())
    return broker
  }

  /** Adds to the message of a failure which queues the test has used. */
  explain(error: unknown): void {
    if (!(error instanceof Error)) return
    const names = [...this.#queues]
    const more = names.length > 10 ? ` and ${names.length - 10} more` : ''
    error.message += `\nQueues of this test: ${names.slice(0, 10).join(', ') || 'none'}${more}`
  }

  /** A queue of a name that nobody has, declared. */
  async queue(): Promise<QueueSpec> {
    const queue = queueSpec()
    this.#queues.add(queue.name)
    await this.withTimeout('declare()', this.broker.declare([queue]))
    return queue
  }

  /** Publishes as many batches as it takes; all must be stored. */
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

  /** Publishes messages with these bodies to one queue, and gives their ids. */
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

  /** A consumer on a broker of its own that will be lost. Its lease is a long one until it dies. */
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
        assert.deepEqual(ended, [], 'a lease that stands is renewed')
        return
      }
      await this.cut(broker)
      // As its supervisor does, which knows what was running.
      const lost = [...held].map(({ id }) => ({ id }))
      const reclaim = reclaimOf(leases)
      if (reclaim !== undefined) await this.withTimeout('reclaim()', reclaim(consumerId, lost))
    }
    return { broker, consumer, consumerId, lose }
  }

  /** Ends the connections of a broker, and with them the leases that hang on them. */
  async cut(broker: Broker): Promise<void> {
    assert.ok(
      this.#harness.killConnection,
      'The lease of this broker is its connection: give the harness `killConnection`, so that an owner can be lost.',
    )
    await this.#harness.killConnection(broker)
  }

  /** Has the connections of a broker fall silent. */
  async stall(broker: Broker): Promise<void> {
    await this.#harness.stallConnection?.(broker)
  }

  /** Whether `heal` does something. */
  get canHeal(): boolean {
    return this.#harness.healConnection !== undefined
  }

  /** Has what the broker connects from now on reach the engine again. */
  async heal(broker: Broker): Promise<void> {
    await this.#harness.healConnection?.(broker)
  }

  /** Has the next bytes of the broker reach the engine and stay without an answer; resolves when that has happened. */
  async loseAnswer(broker: Broker): Promise<void> {
    await this.withTimeout(
      'the cut of the connection before the answer',
      Promise.resolve(this.#harness.loseAnswer?.(broker)),
    )
  }

  /** How many connections of the broker are open. */
  openConnections(broker: Broker): number {
    return this.#harness.openConnections?.(broker) ?? 0
  }

  /** Starts the engine anew, and gives a fixture whose broker was made after it. */
  async restart(): Promise<Fixture> {
    // An engine takes longer to start than to do anything else: its harness knows how long.
    await this.#harness.restart?.()
    this.#next = await Fixture.open(this.#harness)
    return this.#next
  }

  /** How long after a restart a delayed job may take to come. */
  get delayedAfterRestartMs(): number {
    return this.#harness.delayedAfterRestartMs ?? this.timeoutMs
  }

  /** Puts a value that cannot be read behind the jobs of the queue, and gives its bytes. */
  async storeUnreadable(queue: QueueSpec): Promise<Uint8Array> {
    assert.ok(this.#harness.storeUnreadable)
    return this.#harness.storeUnreadable(queue.name)
  }

  /**
   * Receives until there are `count` deliveries; none may be there twice. Of a broker that keeps no order they are given in
   * the order in which they were stored.
   */
  async take(consumer: Consumer, count: number, max: number = count): Promise<readonly Delivery[]> {
    const taken: Delivery[] = []
    const signal = new AbortController().signal
    const missing = (): string => {
      const queues = (this.#queuesOf.get(consumer) ?? []).map(({ name }) => name).join(', ')
      const came = taken.slice(-10).map((job, index) => `\n  ${index + Math.max(0, taken.length - 10)}: ${nameOf(job)}`)
      return `${count} deliveries of ${queues}; ${taken.length} came${came.join('')}`
    }
    await this.eventually(missing, async () => {
      const room = Math.min(max, count - taken.length)
      const deliveries = await this.withTimeout('receive()', consumer.receive(room, { signal }))
      assert.ok(deliveries.length <= room, `receive(${room}) gave ${deliveries.length}`)
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

  /** A new consumer's first delivery from the queue. */
  async takeOneOf(queue: QueueSpec): Promise<{ readonly consumer: Consumer; readonly delivery: Delivery }> {
    const consumer = await this.consumer([queue])
    return { consumer, delivery: await this.takeOne(consumer) }
  }

  /**
   * What the queue has ready. A marker is published behind it, so that its end is seen, not guessed from silence; where there
   * is no "behind", the broker's figures tell. All is acknowledged.
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
      assert.ok(ready !== undefined, 'a broker that keeps no order tells how many jobs are ready')
      if (ready === 0) break
      const deliveries = await this.take(consumer, Math.min(ready, 10))
      await this.ackAll(consumer, deliveries)
      found.push(...deliveries)
    }
    await this.withTimeout('consumer.close()', consumer.close())
    return this.#inOrder(found)
  }

  /** Nothing is ready in the queue, after these consumers, in whose hands something might hide, are closed. */
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

  /** Lets time pass in which something wrong could happen. Nothing may depend on how long it really took. */
  async sleep(ms: number): Promise<void> {
    await sleep(ms)
  }
}

function deliveryOf({ delivery }: Release | Rejection): Delivery {
  return delivery
}

/** Time enough for a lease to end and for what follows. */
export function timeoutOf({ timeoutMs, messageTimeoutMs = 0 }: BrokerHarness): number {
  return timeoutMs ?? Math.max(10_000, 5 * messageTimeoutMs)
}

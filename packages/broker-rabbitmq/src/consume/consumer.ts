import { setTimeout as sleep } from 'node:timers/promises'
import type { Channel, ConsumeMessage, Message } from 'amqplib'
import {
  BrokerError,
  ConsumerBase,
  type ConsumeOptions,
  type Delivery,
  type PublishResult,
  type Rejection,
  type Release,
  type Settled,
  type Settlement,
  type SettleResult,
} from '@zyqueue/core/broker'
import type { ConnectionState } from '../connection/connection-state.ts'
import { connectionLost, messageOf } from '../errors.ts'
import { hasOneConsumer, type Plan } from '../options.ts'
import type { Copy, Restorer } from '../publish/restorer.ts'
import { copyOf, deadLetterOf } from './copies.ts'
import { deliveryOf, restOfDelay, type RabbitDelivery } from './delivery.ts'
import { Subscription, type Demand, type SubscriptionContext } from './subscription.ts'
import { UnackedTags } from './unacked-tags.ts'

const OK: SettleResult = Object.freeze({ status: 'ok' })
const CHECK_MS = 500
/** If core asks for nothing for this many checks, its prefetched jobs go back. */
const IDLE_CHECKS = 2
/** If there are more prefetched jobs than this for each job that core wanted to hold, they go back. */
const MAX_PREFETCHED_PER_WANTED = 4
/** The pause between two polls of the queues if core wants a single job. */
const POLL_MS = 100
const BIND_MS = 5_000
/** A job that cannot be stored as a dead letter comes again after this time. */
const RETURN_MS = 1_000
/** A quorum queue forgets acks that it has not stored when their channel closes. */
const LAST_ACKS_MS = 100

/**
 * One channel that consumes some queues. Its connection is the lease.
 *
 * To settle a job the consumer publishes a copy with a confirm, if there is one, and then acks. AMQP has no answer to an
 * ack: a request behind it on the same channel is answered after the server has read the ack.
 */
export class RabbitConsumer extends ConsumerBase<RabbitDelivery> {
  readonly #state: ConnectionState
  readonly #channel: Channel
  readonly #restorer: Restorer
  #subscriptions: readonly Subscription[] = []
  readonly #byTag = new Map<string, Subscription>()
  readonly #tags = new UnackedTags()
  /** Deliveries that core has not asked for yet. */
  readonly #buffer: RabbitDelivery[] = []
  #presence: string | undefined
  /** How many jobs core wanted to hold at its first `receive`, and at the last one. */
  #firstWanted: number | undefined
  #wanted = 0
  #isReceiving = false
  #idleChecks = 0
  /** The end of the last change of the subscriptions. Never rejects. */
  #changing: Promise<void> = Promise.resolve()
  readonly #stopWatching: () => void
  #failure: unknown
  #isLost = false
  #ackedAt = -Infinity

  static async open(
    state: ConnectionState,
    restorer: Restorer,
    plans: readonly Plan[],
    options: ConsumeOptions,
    onClosed: () => void,
  ): Promise<RabbitConsumer> {
    const consumer = new RabbitConsumer(state, restorer, await state.connection.channel(), options, onClosed)
    try {
      await consumer.#start(plans)
      return consumer
    } catch (error) {
      await consumer.close()
      throw error
    }
  }

  private constructor(
    state: ConnectionState,
    restorer: Restorer,
    channel: Channel,
    options: ConsumeOptions,
    onClosed: () => void,
  ) {
    super(options, onClosed)
    this.#state = state
    this.#restorer = restorer
    this.#channel = channel
    // amqplib's own listeners close the channel if a delivery comes after its consumer was cancelled.
    channel.removeAllListeners('delivery').on('delivery', (message: ConsumeMessage) => this.#onDelivery(message))
    channel.removeAllListeners('cancel').on('cancel', ({ consumerTag }) => this.#onCancelled(consumerTag))
    channel.on('error', (error) => (this.#failure ??= error))
    channel.on('close', () => this.#lose(undefined))
    const forgetConnection = state.connection.onLost((error) => this.#lose(error))
    const timers = [setInterval(() => this.#checkDemand(), CHECK_MS), setInterval(() => this.#bindAll(), BIND_MS)]
    for (const timer of timers) timer.unref()
    this.#stopWatching = () => {
      forgetConnection()
      for (const timer of timers) clearInterval(timer)
    }
  }

  override async receive(max: number, options: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    this.#isReceiving = true
    this.#wanted = this.unacked.size + max
    this.#firstWanted ??= this.#wanted
    const demand = this.#demandOfNow()
    if (!this.#isPolling && this.#subscriptions.some((each) => each.isShort(demand))) this.#change(() => this.#demand())
    try {
      return await super.receive(max, options)
    } finally {
      this.#isReceiving = false
      this.#idleChecks = 0
    }
  }

  protected async claim(room: number): Promise<readonly Delivery[]> {
    if (this.#isLost) throw this.#loss()
    if (this.#isPolling) await this.#poll()
    const taken = this.#buffer.splice(0, room)
    const replaced = await this.#replaceUnready(taken)
    if (this.#isLost) throw this.#loss()
    const deliveries = replaced.size === 0 ? taken : taken.filter((delivery) => !replaced.has(delivery))
    for (const delivery of deliveries) this.unacked.add(delivery, delivery)
    if (deliveries.length === 0 && this.#buffer.length > 0) this.notify()
    return deliveries
  }

  protected override get nextClaimMs(): number {
    return this.#isPolling ? POLL_MS : Infinity
  }

  protected sendAcks(settlements: readonly Settlement<Delivery, RabbitDelivery>[]): Promise<Settled> {
    return this.#ack(settlements.map(({ held }) => held))
  }

  protected sendReleases(settlements: readonly Settlement<Release, RabbitDelivery>[]): Promise<Settled> {
    return this.#replace(
      settlements.map(({ held }) => held),
      settlements.map(({ held, item }) => copyOf(this.#state.delayLevels, held, item.delayMs, item.headers)),
    )
  }

  protected sendRejections(settlements: readonly Settlement<Rejection, RabbitDelivery>[]): Promise<Settled> {
    return this.#replace(
      settlements.map(({ held }) => held),
      settlements.map(({ held, item }) => deadLetterOf(held, item.reason, item.headers)),
    )
  }

  protected async end(): Promise<void> {
    const { connection, catalog } = this.#state
    this.#stopWatching()
    await this.#changing
    if (!this.#isLost) {
      await this.#cancelAll().catch((error: unknown) => this.#lose(error))
      await this.#giveBack(this.#tags.deliveries)
      if (performance.now() - this.#ackedAt < LAST_ACKS_MS) await sleep(LAST_ACKS_MS, undefined, { ref: false })
    }
    this.#isLost = true
    await this.#closeChannel()
    if (!connection.open) return
    if (this.#presence !== undefined) await catalog.addClosed(this.#presence)
    const channel = await connection.channel()
    for (const { plan, source } of this.#subscriptions) {
      if (plan.temporary) await connection.ask(() => channel.deleteQueue(source))
    }
    await connection.ask(() => channel.close())
  }

  async #start(plans: readonly Plan[]): Promise<void> {
    const { consumerId: id, client, queues } = this.options
    const names = queues.map(({ name }) => name)
    this.#presence = await this.#state.catalog.addWorker(this.#channel, { id, client, queues: names })
    const context: SubscriptionContext = { state: this.#state, channel: this.#channel, byTag: this.#byTag }
    for (const plan of plans) {
      const opened = await Subscription.openAll(context, plan)
      this.#subscriptions = [...this.#subscriptions, ...opened]
    }
  }

  /**
   * Core wants one job at a time because some jobs kill their workers. A prefetch of one for each queue would push several jobs,
   * and a crash would count a lost delivery for each. AMQP has no `basic.get` for a queue with a single active consumer.
   */
  get #isPolling(): boolean {
    const isMany = this.options.prefetch === 1 && this.#subscriptions.length > 1
    return isMany && !this.#subscriptions.some(({ plan }) => hasOneConsumer(plan))
  }

  async #poll(): Promise<void> {
    for (const subscription of this.#subscriptions) {
      const message = await this.#state.connection.ask(() => this.#channel.get(subscription.source))
      if (message === false) continue
      return this.#add(subscription, message)
    }
  }

  #demandOfNow(): Demand {
    const { length } = this.#subscriptions
    const first = this.#firstWanted ?? 0
    const wanted = this.#wanted - this.unacked.size - this.#buffer.length
    return {
      wanted: Math.ceil(wanted / length),
      // Core wants many jobs if they are short. Then twice as many hide the round trip of the acks.
      ahead: this.#wanted > 2 * first ? Math.ceil((2 * this.#wanted) / length) : 0,
      whole: Math.max(this.#wanted, first),
    }
  }

  async #demand(): Promise<void> {
    const demand = this.#demandOfNow()
    for (const subscription of this.#subscriptions) await subscription.demand(demand)
  }

  /** Other workers may be idle, so jobs that core does not ask for go back. The next `receive` demands new ones. */
  #checkDemand(): void {
    if (!this.#isReceiving) this.#idleChecks++
    const isIdle = this.#idleChecks >= IDLE_CHECKS
    if (this.#buffer.length <= (isIdle ? 0 : MAX_PREFETCHED_PER_WANTED * this.#wanted)) return
    this.#change(async () => {
      await this.#cancelAll()
      await this.#giveBack(this.#buffer.splice(0))
      if (this.#isReceiving) await this.#demand()
    })
  }

  #bindAll(): void {
    this.#change(async () => {
      for (const subscription of this.#subscriptions) await subscription.bind()
    })
  }

  async #cancelAll(): Promise<void> {
    await Promise.all(this.#subscriptions.map((subscription) => subscription.cancel()))
  }

  /** Changes the subscriptions, one change at a time. A failure ends the consumer. */
  #change(change: () => Promise<void>): void {
    this.#changing = this.#changing
      .then(() => (this.#isLost || this.isClosing ? undefined : change()))
      .catch((error: unknown) => this.#lose(error))
  }

  #onDelivery(message: ConsumeMessage): void {
    const subscription = this.#byTag.get(message.fields.consumerTag)
    if (subscription === undefined || this.#isLost) return
    this.#add(subscription, message)
    this.notify()
  }

  #add(subscription: Subscription, message: Message): void {
    const delivery = deliveryOf(subscription, message)
    this.#tags.add(delivery)
    this.#buffer.push(delivery)
  }

  #onCancelled(tag: string): void {
    this.#change(async () => {
      const subscription = this.#byTag.get(tag)
      const state = await subscription?.restore(tag)
      if (state === 'gone') this.#subscriptions = this.#subscriptions.filter((each) => each !== subscription)
      if (state === 'restored') await this.#demand()
    })
  }

  /**
   * Publishes jobs again that cannot run now. A classic queue only says that a job had an owner, so a copy carries the count:
   * without it a job that kills its workers would run for ever. A delay that is longer than all levels continues.
   */
  async #replaceUnready(deliveries: readonly RabbitDelivery[]): Promise<ReadonlySet<RabbitDelivery>> {
    const unready = deliveries.filter((delivery) => delivery.received.isUncounted || restOfDelay(delivery) > 0)
    if (unready.length === 0) return new Set()
    const copies = unready.map((delivery) => copyOf(this.#state.delayLevels, delivery, restOfDelay(delivery)))
    const results = await this.#publish(copies)
    const stored = new Set(unready.filter((_, index) => results[index]?.status === 'stored'))
    await this.#ack([...stored])
    // If a copy could not be stored, the job runs now, with a lower count or early.
    return stored
  }

  /** Acks, and resolves when the server has read it. Never rejects. */
  async #ack(deliveries: readonly RabbitDelivery[]): Promise<SettleResult> {
    if (deliveries.length === 0) return OK
    // A failed consumer may have an open channel, whose answer would mean nothing.
    if (!deliveries.every((delivery) => this.#tags.has(delivery))) return { status: 'unknown', error: this.#loss() }
    try {
      this.#tags.ack(this.#channel, deliveries)
      this.#ackedAt = performance.now()
      await this.#state.connection.ask(() => this.#channel.prefetch(1))
      return OK
    } catch (error) {
      return { status: 'unknown', error: this.#failure ?? error }
    }
  }

  /**
   * Publishes a copy for each delivery and acks those whose copy is stored. While the server accepts no messages, the others stay
   * here, and core tries again: their queue would offer them at once and count a delivery each time. If the server refuses a
   * single copy, the job comes again a little later. Never rejects.
   */
  async #replace(deliveries: readonly RabbitDelivery[], copies: readonly Copy[]): Promise<readonly SettleResult[]> {
    const published = await this.#publish(copies)
    const isBlocked = this.#state.publisher.blockedBecause !== undefined
    const having = (status: PublishResult['status']): readonly RabbitDelivery[] =>
      deliveries.filter((_, index) => published[index]?.status === status)
    const refused = isBlocked ? [] : having('refused')
    const returned = await this.#publish(
      refused.map((delivery) => copyOf(this.#state.delayLevels, delivery, RETURN_MS)),
    )
    const replaced = new Set([
      ...having('stored'),
      ...refused.filter((_, index) => returned[index]?.status === 'stored'),
    ])
    const acked = await this.#ack([...replaced])
    if (!isBlocked && !this.#isLost) {
      this.#tags.requeue(
        this.#channel,
        deliveries.filter((delivery) => !replaced.has(delivery)),
      )
    }
    return published.map((result) => {
      if (result.status === 'stored') return acked
      return { status: isBlocked || this.#isLost ? 'unknown' : 'returned', error: result.error }
    })
  }

  /** Never rejects. */
  async #publish(copies: readonly Copy[]): Promise<readonly PublishResult[]> {
    try {
      return await this.#restorer.publish(this.#state, copies)
    } catch (error) {
      return copies.map(() => ({ status: 'refused', error }))
    }
  }

  /** Gives back without a lost delivery: the server counts what it gets back, but not a copy. */
  async #giveBack(deliveries: readonly RabbitDelivery[]): Promise<void> {
    if (this.#isLost) return
    await this.#replace(
      deliveries,
      deliveries.map((delivery) => copyOf(this.#state.delayLevels, delivery, restOfDelay(delivery))),
    )
  }

  /** The consumer ends; core opens another. */
  #lose(error: unknown): void {
    this.#failure ??= error
    if (this.#isLost) return
    this.#isLost = true
    this.#stopWatching()
    this.#tags.clear()
    this.#buffer.length = 0
    this.unacked.clear()
    this.notify()
    // Otherwise the server would keep its jobs, and push more of them, until core receives again.
    void this.#closeChannel()
  }

  /** Never rejects. */
  async #closeChannel(): Promise<void> {
    await this.#state.connection.ask(() => this.#channel.close()).catch(() => {})
  }

  #loss(): BrokerError {
    const failure = this.#failure
    if (failure instanceof BrokerError) return failure
    const reason = failure === undefined ? 'the channel was closed' : messageOf(failure)
    return connectionLost(`RabbitMQ ended the consumer: ${reason}`, failure)
  }
}

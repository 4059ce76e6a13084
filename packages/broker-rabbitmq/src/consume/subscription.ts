import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Channel } from 'amqplib'
import type { ConnectionState } from '../connection/connection-state.ts'
import { dueQueueOf, hasOneConsumer, NO_CONSUMER_TIMEOUT_MS, type Plan } from '../options.ts'
import { bindAgain, countsOf, declare, declareTemporary, mayHaveReady, sourcesOf } from '../topology.ts'

/** How long `cancel` waits for deliveries that may be in flight, and its pause between two checks. */
const CANCEL_WAIT_MS = 1_000
const QUIET_MS = 10
/** The pause around a new declaration: the server may still be deleting the old queue. */
const RESTORE_PAUSE_MS = 100

/** What the subscriptions of one channel share. */
export interface SubscriptionContext {
  readonly state: ConnectionState
  readonly channel: Channel
  /** By consumer tag. It also has the consumers that ended last, whose last deliveries may still arrive. */
  readonly byTag: Map<string, Subscription>
}

/** How many jobs core wants in all: more than it has, to hold, and to hold if the worker has one queue with one consumer. */
export interface Demand {
  readonly wanted: number
  readonly ahead: number
  readonly whole: number
}

/**
 * The AMQP consumers of one queue. The prefetch of an AMQP consumer is fixed, so a growing demand adds another consumer. `credit`
 * is the sum of their prefetches, and `free` the part of it without a delivery.
 */
export class Subscription {
  readonly plan: Plan
  readonly #context: SubscriptionContext
  #source: string
  #tags = new Set<string>()
  #endedTags: ReadonlySet<string> = new Set()
  #credit = 0
  #free = 0
  #arrivals = 0

  /** One for each queue of the plan. */
  static async openAll(context: SubscriptionContext, plan: Plan): Promise<readonly Subscription[]> {
    const { state, channel } = context
    const sources = plan.temporary
      ? [await state.connection.ask(() => declareTemporary(channel, plan))]
      : await sourcesOf(state.declareChannel, plan)
    return sources.map((source) => new Subscription(context, plan, source))
  }

  private constructor(context: SubscriptionContext, plan: Plan, source: string) {
    this.#context = context
    this.plan = plan
    this.#source = source
  }

  /** The name of the queue on the server. It differs from `plan.name` for temporary queues and for `<queue>.due`. */
  get source(): string {
    return this.#source
  }

  /** Whether `demand` would add a consumer. */
  isShort({ wanted }: Demand): boolean {
    // If a queue has a single active consumer, the server sends nothing to others.
    return wanted > this.#free && !(hasOneConsumer(this.plan) && this.#credit > 0)
  }

  /** Makes room for `wanted` more deliveries, and for `ahead` deliveries in all. Resolves when the server has answered. */
  async demand(demand: Demand): Promise<void> {
    if (!this.isShort(demand)) return
    const { wanted, ahead, whole } = demand
    const prefetch = hasOneConsumer(this.plan) ? whole : Math.max(wanted - this.#free, ahead - this.#credit)
    const { state, channel, byTag } = this.#context
    const consumerTag = `zyqueue.${randomUUID()}`
    this.#tags.add(consumerTag)
    byTag.set(consumerTag, this)
    this.#credit += prefetch
    this.#free += prefetch
    await state.connection.ask(async () => {
      const prefetched = channel.prefetch(prefetch)
      const consumed = channel.consume(this.#source, () => {}, {
        consumerTag,
        arguments: { 'x-consumer-timeout': NO_CONSUMER_TIMEOUT_MS },
      })
      await Promise.all([prefetched, consumed])
    })
  }

  noteArrival(tag: string | undefined): void {
    this.#arrivals++
    if (tag !== undefined && this.#tags.has(tag)) this.#free--
  }

  noteSettled(tag: string | undefined): void {
    if (tag !== undefined && this.#tags.has(tag)) this.#free++
  }

  /**
   * Ends the consumers. The server counts a delivery that is in flight then as a lost one, so this waits until the credit is used
   * up or the queue is empty, and no more deliveries arrive.
   */
  async cancel(): Promise<void> {
    if (this.#tags.size === 0) return
    const { state, channel } = this.#context
    const until = performance.now() + CANCEL_WAIT_MS
    for (let before = -1; performance.now() < until && (this.#arrivals !== before || (await this.#mayReceive()));) {
      before = this.#arrivals
      await sleep(QUIET_MS, undefined, { ref: false })
      // Deliveries that the server sent before its answer have arrived then.
      await state.connection.ask(() => channel.prefetch(1))
    }
    await Promise.all([...this.#clear()].map((tag) => state.connection.ask(() => channel.cancel(tag))))
  }

  /**
   * The server has ended a consumer: its queue was deleted or has left its node. Resolves to `restored` if the queue exists
   * again, and to `gone` if it must not be declared.
   */
  async restore(tag: string): Promise<'restored' | 'gone' | 'unchanged'> {
    const { state, channel } = this.#context
    const isFirst = this.#tags.has(tag)
    if (!isFirst && (await countsOf(state.declareChannel, this.#source)) !== undefined) return 'unchanged'
    // The server ends the other consumers of the queue, too.
    this.#clear()
    if (this.plan.temporary) {
      this.#source = await state.connection.ask(() => declareTemporary(channel, this.plan))
      return 'restored'
    }
    // A `.due` queue of an earlier declaration.
    if (this.#source !== this.plan.name && this.#source !== dueQueueOf(this.plan)) return 'gone'
    do {
      await sleep(RESTORE_PAUSE_MS, undefined, { ref: false })
      state.delayLevels.forget()
      await declare(state, this.plan)
      await sleep(RESTORE_PAUSE_MS, undefined, { ref: false })
    } while ((await countsOf(state.declareChannel, this.#source)) === undefined)
    return 'restored'
  }

  /** Binds the queue again: a consumer does not notice that a binding was deleted. Never rejects. */
  async bind(): Promise<void> {
    const isBound = this.plan.temporary || this.#source === this.plan.name
    if (this.#tags.size === 0 || !isBound) return
    await bindAgain(this.#context.state.declareChannel, this.plan, this.#source).catch(() => {})
  }

  #clear(): ReadonlySet<string> {
    for (const tag of this.#endedTags) this.#context.byTag.delete(tag)
    this.#endedTags = this.#tags
    this.#tags = new Set()
    this.#credit = 0
    this.#free = 0
    return this.#endedTags
  }

  async #mayReceive(): Promise<boolean> {
    // Another consumer may be the active one.
    if (this.#free <= 0 || hasOneConsumer(this.plan)) return false
    return mayHaveReady(this.#context.state.declareChannel, this.#source).catch(() => false)
  }
}

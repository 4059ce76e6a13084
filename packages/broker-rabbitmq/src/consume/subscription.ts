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

/**
 * The AMQP consumers of one queue. The prefetch of an AMQP consumer is fixed, so a growing demand adds another consumer. `credit`
 * is the sum of their prefetches, and `free` the part of it without a delivery.
 */
export class Subscription {
  readonly plan: Plan
  readonly #state: ConnectionState
  readonly #channel: Channel
  /** Of all subscriptions of the channel. It keeps the tags of ended consumers, whose last deliveries may still arrive. */
  readonly #byTag: Map<string, Subscription>
  #source: string
  readonly #tags = new Set<string>()
  #credit = 0
  #free = 0
  #arrivals = 0

  /** One for each queue of the plan. */
  static async openAll(
    state: ConnectionState,
    channel: Channel,
    byTag: Map<string, Subscription>,
    plan: Plan,
  ): Promise<readonly Subscription[]> {
    const sources = plan.temporary
      ? [await state.connection.ask(() => declareTemporary(channel, plan))]
      : await sourcesOf(state.declareChannel, plan)
    return sources.map((source) => new Subscription(state, channel, byTag, plan, source))
  }

  private constructor(
    state: ConnectionState,
    channel: Channel,
    byTag: Map<string, Subscription>,
    plan: Plan,
    source: string,
  ) {
    this.#state = state
    this.#channel = channel
    this.#byTag = byTag
    this.plan = plan
    this.#source = source
  }

  /** The name of the queue on the server. It differs from `plan.name` for temporary queues and for `<queue>.due`. */
  get source(): string {
    return this.#source
  }

  /** Makes room for `wanted` more deliveries, and for `ahead` deliveries in all. Resolves when the server has answered. */
  async demand(wanted: number, ahead: number): Promise<void> {
    const missing = wanted - this.#free
    // If a queue has a single active consumer, the server sends nothing to others.
    if (missing <= 0 || (hasOneConsumer(this.plan) && this.#credit > 0)) return
    const prefetch = Math.max(missing, ahead - this.#credit)
    const consumerTag = `zyqueue.${randomUUID()}`
    this.#tags.add(consumerTag)
    this.#byTag.set(consumerTag, this)
    this.#credit += prefetch
    this.#free += prefetch
    await this.#state.connection.ask(async () => {
      const prefetched = this.#channel.prefetch(prefetch)
      const consumed = this.#channel.consume(this.#source, () => {}, {
        consumerTag,
        arguments: { 'x-consumer-timeout': NO_CONSUMER_TIMEOUT_MS },
      })
      await Promise.all([prefetched, consumed])
    })
  }

  noteArrival(tag: string): void {
    this.#arrivals++
    if (this.#tags.has(tag)) this.#free--
  }

  noteSettled(tag: string): void {
    if (this.#tags.has(tag)) this.#free++
  }

  /**
   * Ends the consumers. The server counts a delivery that is in flight then as a lost one, so this waits until the credit is used
   * up or the queue is empty, and no more deliveries arrive.
   */
  async cancel(): Promise<void> {
    const until = performance.now() + CANCEL_WAIT_MS
    for (let before = -1; performance.now() < until && (this.#arrivals !== before || (await this.#mayReceive()));) {
      before = this.#arrivals
      await sleep(QUIET_MS, undefined, { ref: false })
      // Deliveries that the server sent before its answer have arrived then.
      await this.#state.connection.ask(() => this.#channel.prefetch(1))
    }
    const tags = [...this.#tags]
    this.#clear()
    await Promise.all(tags.map((tag) => this.#state.connection.ask(() => this.#channel.cancel(tag))))
  }

  /** The server has ended a consumer: its queue was deleted or has left its node. Resolves to whether the queue exists again. */
  async restore(tag: string): Promise<boolean> {
    if (!this.#tags.has(tag)) return false
    // The server ends the other consumers of the queue, too.
    this.#clear()
    if (this.plan.temporary) {
      this.#source = await this.#state.connection.ask(() => declareTemporary(this.#channel, this.plan))
      return true
    }
    // A `.due` queue of an earlier declaration is not declared again.
    if (this.#source !== this.plan.name && this.#source !== dueQueueOf(this.plan)) return false
    do {
      await sleep(RESTORE_PAUSE_MS, undefined, { ref: false })
      this.#state.delayLevels.forget()
      await declare(this.#state, this.plan)
      await sleep(RESTORE_PAUSE_MS, undefined, { ref: false })
    } while ((await countsOf(this.#state.declareChannel, this.#source)) === undefined)
    return true
  }

  /** Binds the queue again: a consumer does not notice that a binding was deleted. Never rejects. */
  async bind(): Promise<void> {
    const isBound = this.plan.temporary || this.#source === this.plan.name
    if (this.#tags.size > 0 && isBound)
      await bindAgain(this.#state.declareChannel, this.plan, this.#source).catch(() => {})
  }

  #clear(): void {
    this.#tags.clear()
    this.#credit = 0
    this.#free = 0
  }

  async #mayReceive(): Promise<boolean> {
    // Another consumer may be the active one.
    if (this.#free <= 0 || hasOneConsumer(this.plan)) return false
    return mayHaveReady(this.#state.declareChannel, this.#source).catch(() => false)
  }
}

import { randomUUID } from 'node:crypto'
import type { Channel, ConsumeMessage } from 'amqplib'
import { RabbitDelivery } from './delivery.ts'
import { Flow } from './flow.ts'
import type { Link } from './link.ts'
import { isUncounted } from './message.ts'
import { dueQueueOf, NO_CONSUMER_TIMEOUT_MS, type Plan } from './options.ts'
import { afterSteps, pause } from './patience.ts'

/** How long `receive` waits for a first job. */
const RECEIVE_WAIT_MS = 1_000
/** When nobody has asked for so long, what waits here is given back: others may be idle. */
const IDLE_MS = 1_000
/** How long to wait for what is on its way, and how often. */
const QUIET_MS = 10
const QUIET_ROUNDS = 20
/** How long after it was sent an acknowledgement may reach its queue, and make room there: while at work, and when nobody waits. */
const SLOW_MS = 3_000
const SLOW_WHEN_ENDING_MS = 1_000

/** One queue of a consumer. */
export interface QueueSubscription {
  readonly plan: Plan
  /** The queue's own name, where `plan.name` is what core knows it by. */
  source: string
  /** From the deletion of the queue until it exists again. */
  gone: boolean
  /** AMQP consumers of the queue with the credit of each, the oldest first. */
  consumers: readonly { readonly tag: string; readonly credit: number }[]
}

interface IntakeOptions {
  readonly link: Link
  readonly channel: Channel
  readonly lanes: readonly QueueSubscription[]
  readonly prefetch: number
  /** A delivery has come. */
  readonly onArrival: (delivery: RabbitDelivery) => void
  /** How many of an AMQP consumer's deliveries are not acknowledged. */
  readonly held: (consumerTag: string) => number
  /** When something was acknowledged last, on the clock of `performance.now()`. */
  readonly ackedAt: () => number
  /** Whether its queue may have more to push. Never rejects. */
  readonly mayHaveMore: (lane: QueueSubscription) => Promise<boolean>
  /** Its queue was deleted, or has left its node. Resolves to whether the queue exists again. */
  readonly restore: (lane: QueueSubscription) => Promise<boolean>
  /** Nobody here is going to run these. */
  readonly giveBack: (deliveries: readonly RabbitDelivery[]) => Promise<void>
  /** These had an owner before, which nothing on them counts. */
  readonly count: (delivery: RabbitDelivery) => void
  readonly onFailure: (error: unknown) => void
}

function dueOf({ plan, source }: QueueSubscription): string {
  return plan.temporary ? source : dueQueueOf(plan)
}

/** The way in of a consumer: what the server pushes, how much it may, and what of it core has not asked for yet. */
export class Intake {
  readonly #options: IntakeOptions
  readonly #flow: Flow
  readonly #byTag = new Map<string, QueueSubscription>()
  /** Tags that were cancelled last: a delivery may come behind the server's answer to that. */
  #lately: readonly string[] = []
  #buffer: RabbitDelivery[] = []
  /** Where its first stands that is not handed out yet. */
  #next = 0
  #wake: (() => void) | undefined
  #tuning: Promise<void> = Promise.resolve()
  #stopIdle: () => void = () => {}
  #stopped = false
  /** While consumers are cancelled. */
  #cancelling: Promise<void> | undefined
  /** How many have come. */
  #arrivals = 0

  constructor(options: IntakeOptions) {
    this.#options = options
    this.#flow = new Flow(options.lanes.length, options.prefetch)
    // amqplib's own would close the channel over a delivery that comes just after its consumer was replaced.
    const { channel } = options
    channel.removeAllListeners('delivery').on('delivery', (message: ConsumeMessage) => this.#arrive(message))
    channel.removeAllListeners('cancel').on('cancel', ({ consumerTag }) => this.#cancelled(consumerTag))
  }

  /** At most `max`, which may come at once or after a while; [] where none came, or the signal was aborted. */
  async take(max: number, inHand: number, signal: AbortSignal): Promise<readonly RabbitDelivery[]> {
    this.#stopIdle()
    try {
      const demand = inHand + max
      const change = max > 0 ? this.#flow.demand(demand) : undefined
      if (change === 'more') this.#tune(() => this.#consumeAll())
      if (change === 'less') this.#tune(() => this.#consumeLess(max))
      const deliveries = this.#handOut(max)
      if (deliveries.length > 0) return deliveries
      await this.#arrival(signal)
      return signal.aborted ? [] : this.#handOut(max)
    } finally {
      this.#watchIdle()
    }
  }

  /** Back in the buffer, to be handed out after all. */
  restore(delivery: RabbitDelivery): void {
    delivery.mode = 'buffered'
    this.#buffer.push(delivery)
    this.wake()
  }

  /** Ends a call of `take` that waits. */
  wake(): void {
    this.#wake?.()
  }

  /** Resolves when nothing is being cancelled: what is acknowledged meanwhile would make room for more, see there. Never rejects. */
  async steady(): Promise<void> {
    while (this.#cancelling !== undefined) await this.#cancelling
  }

  /** Consumes no more; what has come is in the caller's hands. Never rejects. */
  async stop(): Promise<void> {
    this.abandon()
    await this.#tuning
    await this.#cancelAll().catch(() => undefined)
  }

  /** The channel is lost, or about to be closed: what it has consumed goes back with it. */
  abandon(): void {
    this.#stopped = true
    this.#stopIdle()
    this.#buffer = []
    this.#next = 0
    this.wake()
  }

  #arrive(message: ConsumeMessage): void {
    const lane = this.#byTag.get(message.fields.consumerTag)
    if (lane === undefined) return
    this.#arrivals++
    const delivery = new RabbitDelivery(lane.plan.name, lane.source, dueOf(lane), message)
    this.#options.onArrival(delivery)
    if (isUncounted(message)) return this.#options.count(delivery)
    this.#buffer.push(delivery)
    this.wake()
  }

  #cancelled(consumerTag: string): void {
    const lane = this.#byTag.get(consumerTag)
    this.#byTag.delete(consumerTag)
    if (lane === undefined) return
    lane.consumers = lane.consumers.filter(({ tag }) => tag !== consumerTag)
    // All of a deleted queue are cancelled, one after the other.
    if (lane.consumers.length > 0) return
    lane.gone = true
    this.#tune(async () => {
      lane.gone = !(await this.#options.restore(lane))
      await this.#consume(lane)
    })
  }

  async #consumeAll(): Promise<void> {
    for (const lane of this.#options.lanes) await this.#consume(lane)
  }

  /** Puts one consumer in the place of all, and gives back what is here beyond so many. */
  async #consumeLess(most: number): Promise<void> {
    await this.#cancelAll()
    await this.#consumeAll()
    await this.#options.giveBack(this.#takeBeyond(most))
  }

  /** Changes what is consumed, one change at a time. One that fails is the end of the consumer: core makes another. */
  #tune(change: () => Promise<void>): void {
    this.#tuning = this.#tuning.then(() => (this.#stopped ? undefined : change())).catch(this.#options.onFailure)
  }

  /**
   * Brings what the queue may push up to the credit of now, by one more consumer. Not by another in the place of the first:
   * what is under way to a consumer that is cancelled goes back, and is counted.
   */
  async #consume(lane: QueueSubscription): Promise<void> {
    const { link, channel } = this.#options
    const credit = lane.consumers.reduce((left, consumer) => left - consumer.credit, this.#flow.credit)
    if (credit <= 0 || lane.gone) return
    const consumerTag = `zyqueue.${randomUUID()}`
    this.#byTag.set(consumerTag, lane)
    lane.consumers = [...lane.consumers, { tag: consumerTag, credit }]
    await link.ask(async () => {
      // Both go out one behind the other: no other question with another prefetch comes between them.
      const prefetched = channel.prefetch(credit)
      const consumed = channel.consume(lane.source, () => undefined, {
        consumerTag,
        // From 4.3 on it is the consumer's to say; see there.
        arguments: { 'x-consumer-timeout': NO_CONSUMER_TIMEOUT_MS },
      })
      await Promise.all([prefetched, consumed])
    })
  }

  /**
   * What is on its way to a consumer when that is cancelled goes back and is counted, as if an owner had died; and from there to
   * the next that is about to be cancelled. So a queue's consumers go one after the other, each when nothing is on its way, as far
   * as can be told: nothing is acknowledged meanwhile, the credit runs out, or the queue, and what has come by the time of an answer
   * that is asked for behind it is all, where nothing came since the last one. What is published just then can still be counted.
   */
  async #cancelAll(): Promise<void> {
    const cancelling = this.#cancelInTurn()
    this.#cancelling = cancelling.catch(() => undefined).finally(() => (this.#cancelling = undefined))
    await cancelling
  }

  async #cancelInTurn(): Promise<void> {
    const { link, channel, lanes } = this.#options
    for (;;) {
      const tags = lanes.flatMap(({ consumers: [first] }) => first?.tag ?? [])
      if (tags.length === 0) return
      await this.#untilServed()
      await this.#untilQuiet()
      for (const tag of this.#lately) this.#byTag.delete(tag)
      this.#lately = tags
      for (const lane of lanes) lane.consumers = lane.consumers.filter(({ tag }) => !tags.includes(tag))
      await Promise.all(tags.map((tag) => link.ask(() => channel.cancel(tag))))
    }
  }

  /**
   * A quorum queue takes an acknowledgement when it is on its disk, and pushes on only then: however long that is after the channel
   * has read it.
   */
  async #untilServed(): Promise<void> {
    const { link, channel, lanes, ackedAt } = this.#options
    const isLate = (): boolean => performance.now() > ackedAt() + (this.#stopped ? SLOW_WHEN_ENDING_MS : SLOW_MS)
    const mayPush = async (lane: QueueSubscription): Promise<boolean> => {
      const [first] = lane.consumers
      if (first === undefined || this.#options.held(first.tag) >= first.credit) return false
      return this.#options.mayHaveMore(lane)
    }
    for (const lane of lanes) {
      while (!isLate() && (await mayPush(lane))) {
        await pause(QUIET_MS)
        // A channel that was closed over something else says so here.
        await link.ask(() => channel.prefetch(1))
      }
    }
  }

  async #untilQuiet(): Promise<void> {
    const { link, channel } = this.#options
    for (let asked = 0, came = -1; asked < QUIET_ROUNDS && came !== this.#arrivals; asked++) {
      came = this.#arrivals
      await pause(QUIET_MS)
      await link.ask(() => channel.prefetch(1))
    }
  }

  #takeBeyond(count: number): readonly RabbitDelivery[] {
    return this.#buffer.splice(this.#next + count)
  }

  #handOut(max: number): readonly RabbitDelivery[] {
    const deliveries = this.#buffer.slice(this.#next, this.#next + max)
    this.#next += deliveries.length
    if (this.#next === this.#buffer.length) {
      this.#buffer = []
      this.#next = 0
    } else if (this.#next > 1_000) {
      this.#buffer = this.#buffer.slice(this.#next)
      this.#next = 0
    }
    for (const delivery of deliveries) delivery.mode = 'in hand'
    return deliveries
  }

  async #arrival(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), RECEIVE_WAIT_MS)
      timer.unref()
      this.#wake = () => {
        this.#wake = undefined
        clearTimeout(timer)
        signal.removeEventListener('abort', this.#onAbort)
        resolve()
      }
      signal.addEventListener('abort', this.#onAbort)
    })
  }

  readonly #onAbort = (): void => this.wake()

  #watchIdle(): void {
    if (this.#stopped) return
    this.#stopIdle()
    this.#stopIdle = afterSteps(IDLE_MS, () => {
      if (this.#next < this.#buffer.length) this.#park()
      else this.#watchIdle()
    })
  }

  /** Core asks for nothing: its hands are full, or it is about to end. */
  #park(): void {
    this.#flow.stop()
    this.#tune(async () => {
      // Asked again meanwhile.
      if (this.#flow.credit > 0) return
      await this.#cancelAll()
      await this.#options.giveBack(this.#takeBeyond(0))
    })
  }
}

import { randomUUID } from 'node:crypto'
import type { Channel } from 'amqplib'
import {
  BrokerError,
  type Consumer,
  type ConsumeOptions,
  type Delivery,
  type Headers,
  type PublishResult,
  type Rejection,
  type Release,
  type SettleResult,
} from '@zyqueue/core/broker'
import { RabbitDelivery } from './delivery.ts'
import { closed, connectionLost, messageOf } from './errors.ts'
import { Hand } from './hand.ts'
import { Intake, type QueueSubscription } from './intake.ts'
import type { Link } from './link.ts'
import { dueQueueOf, type Plan } from './options.ts'
import { pause } from './patience.ts'
import type { Outgoing } from './lane.ts'
import type { Session } from './session.ts'
import { copyOf, deadLetterOf } from './successor.ts'
import { keepBound, restore } from './restore.ts'
import { countsOf, declareTemporary, mayHaveReady, sourcesOf } from './topology.ts'

const OK: SettleResult = Object.freeze({ status: 'ok' })
const LEASE_LOST: SettleResult = Object.freeze({ status: 'lease-lost' })

/** Of no meaning: each consumer sets its own just before it begins. */
const BARRIER_PREFETCH = 1

const RESTORE_PAUSE_MS = 100
const LAST_ACKS_MS = 100
/** What cannot be dead-lettered comes again, but not at once: the next attempt to is not likely to succeed. */
const RETURN_MS = 1_000

interface Parts {
  readonly link: Link
  readonly channel: Channel
  /** The way out for copies. Throws where its connection is lost. */
  readonly session: () => Session
  readonly lanes: readonly QueueSubscription[]
  /** There for as long as the connection is, and it is not closed. */
  readonly presence: string
  readonly prefetch: number
  readonly onClose: () => void
}

/**
 * One channel that consumes some queues. Its connection is the lease: what it holds goes back when that ends.
 *
 * To settle is to publish the next copy, where there is one, with a confirm, and then to acknowledge. AMQP does not answer
 * an acknowledgement; a question asked behind it on the same channel is answered after it was read.
 */
export class RabbitConsumer implements Consumer {
  readonly #parts: Parts
  readonly #intake: Intake
  readonly #hand = new Hand()
  readonly #forgetLink: () => void
  readonly #underWay = new Set<Promise<unknown>>()
  #mode: 'open' | 'lost' | 'closed' = 'open'
  #failure: unknown
  #inHand = 0
  /** Those that stay here until the server takes messages again: they are in nobody's hand, and fill the credit. */
  #held = 0
  #ackedAt = -Infinity
  #uncounted: RabbitDelivery[] = []
  #closing: Promise<void> | undefined
  readonly #stopBinding: () => void

  /** Rejects with `BrokerError`, or what the server says. */
  static async open(
    link: Link,
    session: () => Session,
    plans: readonly Plan[],
    { consumerId: id, client, prefetch }: ConsumeOptions,
    onClose: () => void,
  ): Promise<RabbitConsumer> {
    const channel = await link.channel()
    const lanes: QueueSubscription[] = []
    for (const plan of plans) {
      const sources = plan.temporary
        ? [await link.ask(() => declareTemporary(channel, plan))]
        : await sourcesOf(session().workbench, plan)
      for (const source of sources) lanes.push({ plan, source, gone: false, consumers: [] })
    }
    const presence = `zyqueue.worker.${randomUUID()}`
    const options = { exclusive: true, durable: false, arguments: { 'x-max-length': 1 } }
    await link.ask(() => channel.assertQueue(presence, options))
    const queues = plans.map(({ name }) => name)
    await session().registry.addWorker({ id, presence, client, queues, connectedAtMs: Date.now() })
    return new RabbitConsumer({ link, channel, session, lanes, presence, prefetch, onClose })
  }

  private constructor(parts: Parts) {
    this.#parts = parts
    const { link, channel, lanes, prefetch } = parts
    this.#intake = new Intake({
      link,
      channel,
      lanes,
      prefetch,
      onArrival: (delivery) => this.#hand.add(delivery),
      held: (consumerTag) => this.#hand.countOf(consumerTag),
      ackedAt: () => this.#ackedAt,
      mayHaveMore: (lane) => this.#mayHaveMore(lane),
      restore: (lane) => this.#restoreQueue(lane),
      giveBack: (deliveries) => this.#giveBack(deliveries),
      count: (delivery) => this.#count(delivery),
      onFailure: (error) => this.#lose(error),
    })
    channel.on('error', (error) => (this.#failure ??= error))
    channel.on('close', () => this.#lose(undefined))
    this.#forgetLink = link.onLost((error) => this.#lose(error))
    this.#stopBinding = keepBound(parts.session, lanes)
  }

  async receive(max: number, { signal }: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    this.#assertOpen()
    if (signal.aborted) return []
    const taken = this.#inHand + this.#held
    const room = Math.max(0, Math.min(max, this.#parts.prefetch - taken))
    const deliveries = await this.#intake.take(room, taken, signal)
    if (deliveries.length === 0) this.#assertOpen()
    this.#inHand += deliveries.length
    return deliveries
  }

  async ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    this.#assertNotClosed()
    const claimed = this.#claim(deliveries)
    const outcome = await this.#while(this.#acknowledge(claimed.filter((delivery) => delivery !== undefined)))
    return claimed.map((delivery) => (delivery === undefined ? LEASE_LOST : outcome))
  }

  async release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    this.#assertNotClosed()
    const deliveries = this.#claim(releases.map(({ delivery }) => delivery))
    return this.#while(
      this.#replace(deliveries, (delivery, index) => {
        const { delayMs = 0, headers } = releases[index] ?? {}
        return this.#copy(delivery, delayMs, headers)
      }),
    )
  }

  async reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]> {
    this.#assertNotClosed()
    const deliveries = this.#claim(rejections.map(({ delivery }) => delivery))
    return this.#while(
      this.#replace(deliveries, (delivery, index) => {
        const { reason = '', headers } = rejections[index] ?? {}
        return this.#deadLetter(delivery, reason, headers)
      }),
    )
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { link, channel, onClose } = this.#parts
    const wasOpen = this.#mode === 'open'
    this.#mode = 'closed'
    this.#stopBinding()
    this.#forgetLink()
    if (wasOpen) await this.#intake.stop()
    await Promise.allSettled(this.#underWay)
    if (wasOpen) await this.#giveBack([...this.#hand.deliveries].filter(({ mode }) => mode !== 'settling'))
    // What a quorum queue has not taken yet of many acknowledgements, it would forget with the channel.
    if (wasOpen && performance.now() - this.#ackedAt < LAST_ACKS_MS) await pause(LAST_ACKS_MS)
    await link.ask(() => channel.close()).catch(() => undefined)
    if (link.open) await this.#deleteOwnQueues().catch(() => undefined)
    onClose()
  }

  async #deleteOwnQueues(): Promise<void> {
    const { link, lanes, presence } = this.#parts
    const channel = await link.channel()
    const temporary = lanes.filter(({ plan }) => plan.temporary).map(({ source }) => source)
    for (const queue of [presence, ...temporary]) await link.ask(() => channel.deleteQueue(queue))
    await link.ask(() => channel.close())
  }

  #lose(error: unknown): void {
    this.#failure ??= error
    if (this.#mode !== 'open') return
    this.#mode = 'lost'
    this.#stopBinding()
    this.#hand.clear()
    this.#intake.abandon()
  }

  /** Resolves to whether the queue exists again. */
  async #restoreQueue(lane: QueueSubscription): Promise<boolean> {
    const { link, channel, session } = this.#parts
    const { plan, source } = lane
    if (plan.temporary) {
      lane.source = await link.ask(() => declareTemporary(channel, plan))
      return true
    }
    // An old one: this worker does not declare it.
    if (source !== plan.name && source !== dueQueueOf(plan)) return false
    // Its consumers hear of its end before it has come: what is declared now may be what is being deleted.
    const { workbench } = session()
    do {
      await pause(RESTORE_PAUSE_MS)
      await restore(session(), plan)
      await pause(RESTORE_PAUSE_MS)
    } while ((await countsOf(workbench, source)) === undefined)
    return true
  }

  async #mayHaveMore({ source, plan }: QueueSubscription): Promise<boolean> {
    // Another may be the active one, and this one waits for its turn.
    if (plan.arguments['x-single-active-consumer'] === true) return false
    try {
      return await mayHaveReady(this.#parts.session().workbench, source)
    } catch {
      return false
    }
  }

  /** Those that are in hand, which from now on nobody else may settle; undefined for the others. */
  #claim(deliveries: readonly Delivery[]): readonly (RabbitDelivery | undefined)[] {
    return deliveries.map((delivery) => {
      if (!(delivery instanceof RabbitDelivery) || delivery.mode !== 'in hand' || !this.#hand.has(delivery))
        return undefined
      delivery.mode = 'settling'
      this.#inHand--
      return delivery
    })
  }

  /** Takes note of work that `close` has to wait for. */
  async #while<Result>(work: Promise<Result>): Promise<Result> {
    this.#underWay.add(work)
    try {
      return await work
    } finally {
      this.#underWay.delete(work)
    }
  }

  /** Acknowledges, and makes sure that the server has read it. Never rejects. */
  async #acknowledge(deliveries: readonly RabbitDelivery[]): Promise<SettleResult> {
    if (deliveries.length === 0) return OK
    const { link, channel } = this.#parts
    await this.#intake.steady()
    // Its failure may have come since they were claimed, and leave the channel open: nobody could tell by the answer then.
    if (!deliveries.every((delivery) => this.#hand.has(delivery))) return { status: 'unknown', error: this.#loss() }
    try {
      this.#hand.ack(channel, deliveries)
      this.#ackedAt = performance.now()
      await link.ask(() => channel.prefetch(BARRIER_PREFETCH))
      return OK
    } catch (error) {
      return { status: 'unknown', error: this.#failure ?? error }
    }
  }

  /**
   * Publishes what is to take the place of each, or where that is refused the job as it was, for a little later, and acknowledges
   * those of which one is stored. Never rejects.
   */
  async #replace(
    claimed: readonly (RabbitDelivery | undefined)[],
    successor: (delivery: RabbitDelivery, index: number) => Promise<Outgoing>,
  ): Promise<readonly SettleResult[]> {
    const mine = [...claimed.entries()].flatMap(([index, delivery]) => (delivery ? [{ index, delivery }] : []))
    const published = await this.#publish(
      mine.map(
        ({ delivery, index }) =>
          () =>
            successor(delivery, index),
      ),
    )
    const having = (status: PublishResult['status']): readonly RabbitDelivery[] =>
      mine.filter((_, position) => published[position]?.status === status).map(({ delivery }) => delivery)
    const returned = await this.#republish(having('refused'), (delivery) => this.#copy(delivery, RETURN_MS, undefined))
    const replaced = new Set([...having('stored'), ...returned])
    const outcome = await this.#acknowledge([...replaced])
    // Those without a successor go back: nobody would settle them as long as this connection lives.
    this.#return(mine.map(({ delivery }) => delivery).filter((delivery) => !replaced.has(delivery)))
    const results = claimed.map(() => LEASE_LOST)
    for (const [position, { index }] of mine.entries()) {
      const result = published[position]
      const status = this.#mode === 'lost' ? 'unknown' : 'returned'
      results[index] = result?.status === 'stored' ? outcome : { status, error: result?.error }
    }
    return results
  }

  /** Resolves to those whose copies are stored. */
  async #republish(
    deliveries: readonly RabbitDelivery[],
    copy: (delivery: RabbitDelivery) => Promise<Outgoing>,
  ): Promise<readonly RabbitDelivery[]> {
    const results = await this.#publish(deliveries.map((delivery) => () => copy(delivery)))
    return deliveries.filter((_, index) => results[index]?.status === 'stored')
  }

  /**
   * What goes back as it is is counted, and comes again at once: while the server takes no messages, a job that fails would
   * soon be condemned for it. So it stays here until a copy can go.
   */
  #return(deliveries: readonly RabbitDelivery[]): void {
    if (deliveries.length === 0) return
    try {
      const { publisher } = this.#parts.session()
      if (publisher.blockedBecause !== undefined) {
        this.#held += deliveries.length
        void publisher.unblocked().then(() => {
          this.#held -= deliveries.length
          return this.#mode === 'open' ? this.#giveBack(deliveries) : undefined
        })
        return
      }
      this.#hand.requeue(this.#parts.channel, deliveries)
    } catch {
      // The channel is gone, and they are back.
    }
  }

  /** Never rejects: what keeps a copy from being made is its result, and nobody else's. */
  async #publish(makers: readonly (() => Promise<Outgoing>)[]): Promise<readonly PublishResult[]> {
    const results: PublishResult[] = []
    const copies = new Map<number, Outgoing>()
    for (const [index, made] of (await Promise.allSettled(makers.map((make) => make()))).entries()) {
      if (made.status === 'fulfilled') copies.set(index, made.value)
      else results[index] = { status: 'refused', error: made.reason }
    }
    const sent = await this.#send([...copies.values()])
    for (const [position, index] of [...copies.keys()].entries()) {
      const result = sent[position]
      if (result !== undefined) results[index] = result
    }
    return results
  }

  /** Never rejects. */
  async #send(copies: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    try {
      return await this.#parts.session().publisher.publish(copies)
    } catch (error) {
      return copies.map(() => ({ status: 'refused', error }))
    }
  }

  /** Gives back without counting: the server counts whatever it gets back, but not a copy. Never rejects. */
  async #giveBack(deliveries: readonly RabbitDelivery[]): Promise<void> {
    for (const delivery of deliveries) delivery.mode = 'settling'
    await this.#while(this.#replace(deliveries, (delivery) => this.#copy(delivery, 0, undefined)))
  }

  /**
   * A classic queue says of a job that it had an owner, not how many: so its next copy carries the count, and this one is
   * not run. Without that a job that kills its workers would go round for ever.
   */
  #count(delivery: RabbitDelivery): void {
    delivery.mode = 'settling'
    if (this.#uncounted.push(delivery) > 1) return
    setImmediate(() => void this.#while(this.#publishCounted(this.#uncounted.splice(0))))
  }

  async #publishCounted(deliveries: readonly RabbitDelivery[]): Promise<void> {
    const stored = new Set(await this.#republish(deliveries, (delivery) => this.#copy(delivery, 0, undefined)))
    await this.#acknowledge([...stored])
    if (this.#mode !== 'open') return
    // Better run with a count that is not kept than not at all.
    for (const delivery of deliveries) if (!stored.has(delivery)) this.#intake.restore(delivery)
  }

  #copy(delivery: RabbitDelivery, delayMs: number, headers: Headers | undefined): Promise<Outgoing> {
    return copyOf(this.#parts.session, delivery, delayMs, headers)
  }

  #deadLetter(delivery: RabbitDelivery, reason: string, headers: Headers | undefined): Promise<Outgoing> {
    const lane = this.#parts.lanes.find(({ plan }) => plan.name === delivery.queue)
    return deadLetterOf(this.#parts.session, delivery, lane?.plan.queueType ?? 'quorum', reason, headers)
  }

  #assertOpen(): void {
    this.#assertNotClosed()
    if (this.#mode !== 'open') throw this.#loss()
  }

  #loss(): BrokerError {
    const failure = this.#failure
    if (failure instanceof BrokerError) return failure
    return connectionLost(
      `RabbitMQ ended the consumer: ${failure === undefined ? 'the channel was closed' : messageOf(failure)}`,
      failure,
    )
  }

  #assertNotClosed(): void {
    if (this.#mode === 'closed') throw closed()
  }
}

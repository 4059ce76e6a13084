import type { ConfirmChannel, Message, Options } from 'amqplib'
import { BrokerError, type PublishResult } from '@zyqueue/core/broker'
import { REPLY, replyCode } from './errors.ts'
import type { Link } from './link.ts'
import { afterSteps, PATIENCE_MS } from './patience.ts'

/** How long a publish waits for a server that takes nothing at the moment, before it is refused. */
const BLOCKED_PATIENCE_MS = 4_000
/** A channel that is refused something is replaced no more often than this. */
const FRESH_MS = 500
/** How long `close` waits for confirms that are on their way. */
const LAST_CONFIRMS_MS = 2_000

/** One message on its way. */
export interface Outgoing {
  readonly exchange: string
  readonly routingKey: string
  readonly body: Buffer
  readonly properties: Options.Publish
}

export const STORED: PublishResult = Object.freeze({ status: 'stored' })

/**
 * The way out: publishes with confirms, and every message `mandatory`, so that a stored one is in a queue. Its connection is
 * its own, opened when it is needed: in an alarm the server reads nothing of those that publish.
 *
 * The server closes a channel over an exchange that is missing, so each exchange has a channel of its own: nobody else's
 * messages go with it.
 */
export class Publisher {
  readonly #open: () => Promise<Link>
  /** Called when a channel was closed, not by us: what was declared before may be gone. */
  readonly #onFailure: () => void
  #exit: Promise<Exit> | undefined
  /** Those that nothing more is sent with, and that wait for answers. */
  readonly #retired = new Set<Exit>()
  /**
   * Queues that have not confirmed in time. For the first message to a queue without a leader the server holds up all else
   * of the channel, for a minute: so they have channels of their own, until they confirm.
   */
  readonly #silent = new Set<string>()
  #underWay = 0
  #idle: (() => void)[] = []
  #link: Link | undefined

  constructor(open: () => Promise<Link>, onFailure: () => void) {
    this.#open = open
    this.#onFailure = onFailure
  }

  /** Why the server takes no messages at the moment, as far as is known here. */
  get blockedBecause(): string | undefined {
    return this.#link?.blockedBecause
  }

  /** Resolves when the server takes messages, or the connection is lost. */
  async unblocked(): Promise<void> {
    await this.#link?.unblocked()
  }

  /** One result for each, in their order. Rejects only where nothing was sent. */
  async publish(messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    if (messages.length === 0) return []
    this.#underWay++
    try {
      return await this.#sendBy(await this.#connected(), messages)
    } finally {
      if (--this.#underWay === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  /** Waits for what is under way, though not for long, and closes. Never rejects. */
  async close(): Promise<void> {
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        const stop = afterSteps(LAST_CONFIRMS_MS, resolve)
        this.#idle.push(() => (stop(), resolve()))
      })
    }
    const exit = await this.#exit?.catch(() => undefined)
    const exits = exit === undefined ? [...this.#retired] : [exit, ...this.#retired]
    await Promise.all(exits.map(({ link }) => link.close()))
  }

  #connected(): Promise<Exit> {
    this.#exit ??= this.#connect()
    return this.#exit
  }

  async #connect(): Promise<Exit> {
    try {
      const link = await this.#open()
      this.#link = link
      const exit: Exit = { link, lanes: new Map(), underWay: 0, isRetired: false }
      link.onLost(() => this.#retire(exit))
      return exit
    } catch (error) {
      this.#exit = undefined
      throw error
    }
  }

  async #sendBy(exit: Exit, messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    exit.underWay++
    try {
      const refusal = await whileBlocked(exit.link)
      if (refusal !== undefined) return messages.map(() => refusal)
      return await this.#send(exit, messages)
    } finally {
      exit.underWay--
      this.#closeIfDone(exit)
    }
  }

  /** What is published from now on goes another way. */
  #retire(exit: Exit): void {
    if (exit.isRetired) return
    exit.isRetired = true
    this.#exit = undefined
    this.#retired.add(exit)
    this.#closeIfDone(exit)
  }

  #closeIfDone(exit: Exit): void {
    if (!exit.isRetired || exit.underWay > 0) return
    this.#retired.delete(exit)
    void exit.link.close()
  }

  async #send(exit: Exit, messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    const { link } = exit
    const ways = messages.map((message) => this.#wayOf(message))
    const lanes = new Map<string, Lane>()
    for (const way of ways) if (!lanes.has(way)) lanes.set(way, await this.#lane(exit, way))
    return new Promise((resolve) => {
      const batch = new Batch(messages, (results) => {
        stop()
        for (const lane of lanes.values()) lane.leave(batch)
        resolve(results)
      })
      const stop = afterSteps(PATIENCE_MS, () => {
        // A server in alarm will read it all when it is over. Any other is gone, which its link finds out, or a queue has no leader.
        if (link.blockedBecause !== undefined) return batch.settleAll({ status: 'unknown', error: full(link) })
        const open = [...batch.open()]
        for (const [index, message] of open) this.#giveUp(exit, message, ways[index])
        batch.settleAll({ status: 'unknown', error: unconfirmed(open.map(([, message]) => message)) })
      })
      link.cork()
      for (const [index, way] of ways.entries()) lanes.get(way)?.send(batch, index)
    })
  }

  #wayOf({ exchange, routingKey }: Outgoing): string {
    return exchange === '' && this.#silent.has(routingKey) ? ownWay(routingKey) : exchange
  }

  /** Nothing more is to wait behind what was not confirmed. */
  #giveUp(exit: Exit, { exchange, routingKey }: Outgoing, way: string | undefined): void {
    if (way === exchange) this.#retire(exit)
    else retireLane(exit, ownWay(routingKey))
    if (exchange === '') this.#silent.add(routingKey)
  }

  #lane(exit: Exit, way: string): Promise<Lane> {
    const { link, lanes } = exit
    let lane = lanes.get(way)
    if (lane === undefined) {
      const opening = link.confirmChannel().then((channel) => {
        const forget = (): void => void (lanes.get(way) === opening && lanes.delete(way))
        const opened = new Lane(channel, forget, (queue) => {
          if (this.#silent.size > 0 && way === ownWay(queue) && this.#silent.delete(queue)) retireLane(exit, way)
        })
        channel.once('close', () => {
          forget()
          if (!opened.isDone) this.#onFailure()
        })
        return opened
      })
      lane = opening
      lanes.set(way, lane)
      lane.catch(() => lanes.delete(way))
    }
    return lane
  }
}

/** A connection that publishes. */
interface Exit {
  readonly link: Link
  /** A channel for each exchange, and for each queue that is silent. */
  readonly lanes: Map<string, Promise<Lane>>
  /** Calls that it has not answered. */
  underWay: number
  isRetired: boolean
}

/** Of a queue that is silent. No exchange has such a name. */
function ownWay(queue: string): string {
  return `\0${queue}`
}

function retireLane({ lanes }: Exit, way: string): void {
  lanes.get(way)?.then(
    (lane) => lane.retire(),
    () => undefined,
  )
}

async function whileBlocked(link: Link): Promise<PublishResult | undefined> {
  if (link.blockedBecause === undefined) return undefined
  let late = false
  await new Promise<void>((resolve) => {
    const stop = afterSteps(BLOCKED_PATIENCE_MS, () => ((late = true), resolve()))
    void link.unblocked().then(() => (stop(), resolve()))
  })
  return late ? { status: 'refused', error: full(link) } : undefined
}

/** Messages that are published together, and what has become of each. */
class Batch {
  readonly messages: readonly Outgoing[]
  readonly #results: (PublishResult | undefined)[]
  readonly #done: (results: readonly PublishResult[]) => void
  #open: number
  /** What the server said of those that it gave back: that comes before the confirm. */
  #returned: Map<number, string> | undefined

  constructor(messages: readonly Outgoing[], done: (results: readonly PublishResult[]) => void) {
    this.messages = messages
    this.#results = Array.from({ length: messages.length })
    this.#open = messages.length
    this.#done = done
  }

  /** Those that nothing is known of. */
  *open(): Iterable<readonly [number, Outgoing]> {
    for (const entry of this.messages.entries()) if (this.#results[entry[0]] === undefined) yield entry
  }

  returned(index: number): string | undefined {
    return this.#returned?.get(index)
  }

  /** By what it says: a return has no delivery tag. Of several that say the same, each is returned. */
  noteReturn({ fields, properties }: Message): boolean {
    const index = this.messages.findIndex(
      ({ exchange, routingKey, properties: { messageId } }, at) =>
        messageId === properties.messageId &&
        routingKey === fields.routingKey &&
        exchange === fields.exchange &&
        this.#results[at] === undefined &&
        this.#returned?.has(at) !== true,
    )
    if (index === -1) return false
    const text: unknown = Reflect.get(fields, 'replyText')
    this.#returned ??= new Map()
    this.#returned.set(index, typeof text === 'string' ? text : 'NO_ROUTE')
    return true
  }

  settle(index: number, result: PublishResult): void {
    if (this.#results[index] !== undefined) return
    this.#results[index] = result
    if (--this.#open === 0) this.#done(this.#results.map((each) => each ?? result))
  }

  settleAll(result: PublishResult): void {
    for (const index of this.messages.keys()) this.settle(index, result)
  }
}

/** One confirm channel, and what is on its way there. */
class Lane {
  readonly #channel: ConfirmChannel
  readonly #batches = new Set<Batch>()
  readonly #since = performance.now()
  readonly #forget: () => void
  readonly #onStored: (routingKey: string) => void
  #failure: unknown
  #isRetired = false

  /** `forget` is called when nothing more is to be sent with it. */
  constructor(channel: ConfirmChannel, forget: () => void, onStored: (routingKey: string) => void) {
    this.#channel = channel
    this.#forget = forget
    this.#onStored = onStored
    channel.on('return', (message) => {
      for (const batch of this.#batches) if (batch.noteReturn(message)) return
    })
    channel.on('error', (error) => (this.#failure ??= error))
  }

  /** Whether it has closed its channel itself: nothing more was to be sent. */
  get isDone(): boolean {
    return this.#isRetired && this.#batches.size === 0
  }

  send(batch: Batch, index: number): void {
    const message = batch.messages[index]
    if (message === undefined) return
    const { exchange, routingKey, body, properties } = message
    this.#batches.add(batch)
    try {
      this.#channel.publish(exchange, routingKey, body, properties, (error: unknown) =>
        batch.settle(index, error === null ? this.#confirmed(batch, index) : this.#failed(message, error)),
      )
    } catch (error) {
      // Nothing was sent: amqplib could not encode it, or the channel is closed.
      batch.settle(index, { status: 'refused', error: this.#failure ?? error })
    }
  }

  leave(batch: Batch): void {
    this.#batches.delete(batch)
    this.#closeIfDone()
  }

  /** Takes nothing more; what is on its way may still be answered. */
  retire(): void {
    if (this.#isRetired) return
    this.#isRetired = true
    this.#forget()
    this.#closeIfDone()
  }

  #closeIfDone(): void {
    if (this.isDone) this.#channel.close().catch(() => undefined)
  }

  #confirmed(batch: Batch, index: number): PublishResult {
    const returned = batch.returned(index)
    const message = batch.messages[index]
    if (message !== undefined) this.#onStored(message.routingKey)
    if (returned === undefined || message === undefined) return STORED
    return { status: 'refused', error: unroutable(message, returned) }
  }

  #failed(message: Outgoing, error: unknown): PublishResult {
    if (error instanceof Error && error.message === 'message nacked') {
      // A channel that has seen a quorum queue without a leader may go on to refuse when it has one.
      if (performance.now() - this.#since > FRESH_MS) this.retire()
      return { status: 'refused', error: nacked(message) }
    }
    const failure = this.#failure ?? error
    if (replyCode(failure) !== REPLY.NOT_FOUND) return { status: 'unknown', error: failure }
    // Its exchange is not there: no queue can have it.
    const text = `RabbitMQ has no exchange "${message.exchange}"`
    return { status: 'refused', error: new BrokerError('ZYQ_UNROUTABLE', text, { cause: failure }) }
  }
}

function unroutable({ exchange, routingKey }: Outgoing, reason: string): BrokerError {
  const what =
    exchange === '' ? `no queue "${routingKey}"` : `no queue at the exchange "${exchange}" for "${routingKey}"`
  return new BrokerError('ZYQ_UNROUTABLE', `RabbitMQ has ${what} (${reason})`)
}

function nacked({ routingKey }: Outgoing): BrokerError {
  return new BrokerError(
    'ZYQ_BROKER_FULL',
    `RabbitMQ refused a job for "${routingKey}": its queue is full or not available`,
  )
}

function full(link: Link): BrokerError {
  const because = link.blockedBecause ?? 'resource alarm'
  return new BrokerError('ZYQ_BROKER_FULL', `RabbitMQ takes no jobs at the moment (${because})`)
}

function unconfirmed(messages: readonly Outgoing[]): BrokerError {
  const places = new Set(
    messages.map(({ exchange, routingKey }) => (exchange === '' ? `queue "${routingKey}"` : `exchange "${exchange}"`)),
  )
  const [first = 'it', ...others] = places
  const where = others.length === 0 ? first : `${first} and ${others.length} more`
  return new BrokerError(
    'ZYQ_BROKER_BUSY',
    `RabbitMQ did not confirm what was sent to ${where}: a queue there may have no leader (rabbitmqctl list_unresponsive_queues names it)`,
  )
}

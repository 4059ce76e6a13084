import { BrokerError, type PublishResult } from '@zyqueue/core/broker'
import { errorCode, tooLarge } from './errors.ts'
import { Batch, PublishChannel, type Outcome, type Outgoing } from './lane.ts'
import type { Link } from './link.ts'
import { afterSteps, PATIENCE_MS } from './patience.ts'

/** How long a publish waits for a server that takes nothing at the moment, before it is refused. */
const BLOCKED_PATIENCE_MS = 4_000
/** How long `close` waits for confirms that are on their way. */
const LAST_CONFIRMS_MS = 2_000
/** No server is set to refuse a body of so few bytes. */
const SMALL_BYTES = 4_096
/** How often a message is sent anew because its channel was closed over others. */
const MOST_ATTEMPTS = 20

/**
 * The way out: publishes with confirms, and every message `mandatory`, so that a stored one is in a queue. Its connection is
 * its own, opened when it is needed: in an alarm the server reads nothing of those that publish.
 *
 * The server closes a channel over an exchange that is missing, so each exchange has a channel of its own: nobody else's
 * messages go with it. It closes one over a body that is too large, too, and does not say before how large that is: so a
 * message that is larger than all before it has a channel of its own.
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
  #large = 0

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

  /** One result for each, in their order. Rejects only if nothing was sent. */
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
      const exit: Exit = {
        link,
        lanes: new Map(),
        underWay: 0,
        isRetired: false,
        taken: SMALL_BYTES,
        tooMany: Infinity,
      }
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

  /** One result for each, in their order. One that is larger than all before it is sent when those before it are confirmed. */
  async #send(exit: Exit, messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    const results: PublishResult[] = []
    for (let rest = messages; rest.length > 0; rest = messages.slice(results.length)) {
      const isLarge = ({ body }: Outgoing): boolean => body.length > exit.taken
      const before = rest.findIndex(isLarge)
      try {
        if (before === 0) results.push(...(await this.#sendLarge(exit, rest.slice(0, 1))))
        else results.push(...(await this.#sendPart(exit, before === -1 ? rest : rest.slice(0, before))))
      } catch (error) {
        // Earlier parts may be stored: the caller must not send those again.
        if (results.length === 0) throw error
        return [...results, ...refused(rest, error)]
      }
    }
    return results
  }

  async #sendLarge(exit: Exit, messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    const [{ body } = { body: Buffer.alloc(0) }] = messages
    if (body.length >= exit.tooMany) return [{ status: 'refused', error: tooLarge(body.length) }]
    const way = `\0large ${this.#large++}`
    const results = await this.#sendPart(exit, messages, way)
    retireLane(exit, way)
    for (const result of results) {
      if (result.status === 'stored') exit.taken = Math.max(exit.taken, body.length)
      else if (errorCode(result.error) === 'ZYQ_BODY_TOO_LARGE') exit.tooMany = Math.min(exit.tooMany, body.length)
    }
    return results
  }

  /** Sends anew what the server has not read because it closed the channel over another message. */
  async #sendPart(exit: Exit, messages: readonly Outgoing[], way?: string): Promise<readonly PublishResult[]> {
    const outcomes = [...(await this.#attempt(exit, messages, way))]
    for (let attempts = 1; attempts < MOST_ATTEMPTS && outcomes.includes('unread'); attempts++) {
      const unread = [...outcomes.keys()].filter((index) => outcomes[index] === 'unread')
      const rest = messages.filter((_, index) => outcomes[index] === 'unread')
      const again = await this.#attempt(exit, rest, way).catch((error: unknown) => refused(rest, error))
      for (const [position, index] of unread.entries()) outcomes[index] = again[position] ?? 'unread'
    }
    return outcomes.map((outcome) => (outcome === 'unread' ? { status: 'refused', error: unread() } : outcome))
  }

  /** Rejects only if nothing was sent. */
  async #attempt(exit: Exit, messages: readonly Outgoing[], way?: string): Promise<readonly Outcome[]> {
    const { link } = exit
    const ways = messages.map((message) => way ?? this.#wayOf(message))
    const lanes = new Map<string, PublishChannel>()
    for (const name of ways) if (!lanes.has(name)) lanes.set(name, await this.#lane(exit, name))
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
      for (const [index, name] of ways.entries()) lanes.get(name)?.send(batch, index)
    })
  }

  #wayOf({ exchange, routingKey }: Outgoing): string {
    return exchange === '' && this.#silent.has(routingKey) ? ownWay(routingKey) : exchange
  }

  /** Nothing more is to wait behind what was not confirmed. */
  #giveUp(exit: Exit, { exchange, routingKey }: Outgoing, way = exchange): void {
    if (way === exchange) this.#retire(exit)
    else retireLane(exit, way)
    if (exchange === '') this.#silent.add(routingKey)
  }

  #lane(exit: Exit, way: string): Promise<PublishChannel> {
    const { link, lanes } = exit
    let lane = lanes.get(way)
    if (lane === undefined) {
      const opening = link.confirmChannel().then((channel) => {
        const forget = (): void => void (lanes.get(way) === opening && lanes.delete(way))
        const opened = new PublishChannel(channel, forget, (queue) => {
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
  readonly lanes: Map<string, Promise<PublishChannel>>
  /** Calls that it has not answered. */
  underWay: number
  isRetired: boolean
  /** The server accepts a body of `taken` bytes, and refuses one of `tooMany` bytes. */
  taken: number
  tooMany: number
}

/** Results of messages that were not sent because of this error. */
function refused(messages: readonly Outgoing[], error: unknown): readonly PublishResult[] {
  return messages.map(() => ({ status: 'refused', error }))
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

function unread(): BrokerError {
  return new BrokerError('ZYQ_BROKER_BUSY', 'RabbitMQ closed the channel of a job again and again, over others')
}

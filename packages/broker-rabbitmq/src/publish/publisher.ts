import { BrokerError, startTimeout, type PublishResult } from '@zyqueue/core/broker'
import { Batch, PublishChannel, type Outcome, type Outgoing } from './publish-channel.ts'
import { ANSWER_TIMEOUT_MS, type AmqpConnection } from '../connection/amqp-connection.ts'

/** How long a publish waits for the end of an alarm before it is refused. */
const BLOCKED_PATIENCE_MS = 4_000
/** How long `close` waits for confirms. */
const LAST_CONFIRMS_MS = 2_000
/** Every server accepts a body of this size. */
const SMALL_BYTES = 4_096
/** How often a message is sent because its channel was closed for another one. */
const MOST_ATTEMPTS = 20

/**
 * Publishes with confirms. Every message is `mandatory`, so that a stored one is in a queue. The connection is opened when it is
 * needed and is used for nothing else: in an alarm the server reads nothing from connections that publish.
 *
 * The server closes a channel if an exchange does not exist, so each exchange has a channel of its own and other messages are not
 * affected. It also closes a channel if a body is too large, and does not tell the limit before. So a message that is larger
 * than all before it has a channel of its own, too.
 */
export class Publisher {
  readonly #open: () => Promise<AmqpConnection>
  /** Called when the server closed a channel: exchanges and queues may have been deleted. */
  readonly #onFailure: () => void
  #publishConnection: Promise<PublishConnection> | undefined
  /** Connections that only wait for answers. */
  readonly #retired = new Set<PublishConnection>()
  /**
   * Queues that did not confirm in time. After the first message to a queue without a leader the server stops the whole channel
   * for a minute, so these queues have channels of their own until they confirm.
   */
  readonly #silent = new Set<string>()
  #underWay = 0
  #idle: (() => void)[] = []
  #amqp: AmqpConnection | undefined
  #large = 0

  constructor(open: () => Promise<AmqpConnection>, onFailure: () => void) {
    this.#open = open
    this.#onFailure = onFailure
  }

  /** The alarm because of which the server accepts no messages, if it is known. */
  get blockedBecause(): string | undefined {
    return this.#amqp?.blockedBecause
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

  /** Waits for pending confirms for a short time and closes. Never rejects. */
  async close(): Promise<void> {
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        const stop = startTimeout(LAST_CONFIRMS_MS, resolve)
        this.#idle.push(() => (stop(), resolve()))
      })
    }
    const target = await this.#publishConnection?.catch(() => undefined)
    const connections = target === undefined ? [...this.#retired] : [target, ...this.#retired]
    await Promise.all(connections.map(({ connection }) => connection.close()))
  }

  #connected(): Promise<PublishConnection> {
    this.#publishConnection ??= this.#connect()
    return this.#publishConnection
  }

  async #connect(): Promise<PublishConnection> {
    try {
      const connection = await this.#open()
      this.#amqp = connection
      const target: PublishConnection = {
        connection,
        channels: new Map(),
        underWay: 0,
        isRetired: false,
        taken: SMALL_BYTES,
      }
      connection.onLost(() => this.#retire(target))
      return target
    } catch (error) {
      this.#publishConnection = undefined
      throw error
    }
  }

  async #sendBy(target: PublishConnection, messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    target.underWay++
    try {
      const refusal = await whileBlocked(target.connection)
      if (refusal !== undefined) return messages.map(() => refusal)
      return await this.#send(target, messages)
    } finally {
      target.underWay--
      this.#closeIfDone(target)
    }
  }

  /** Later messages use another connection. */
  #retire(target: PublishConnection): void {
    if (target.isRetired) return
    target.isRetired = true
    this.#publishConnection = undefined
    this.#retired.add(target)
    this.#closeIfDone(target)
  }

  #closeIfDone(target: PublishConnection): void {
    if (!target.isRetired || target.underWay > 0) return
    this.#retired.delete(target)
    void target.connection.close()
  }

  /** One result for each, in their order. A message that is larger than all before it is sent when these are confirmed. */
  async #send(target: PublishConnection, messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    const results: PublishResult[] = []
    for (let rest = messages; rest.length > 0; rest = messages.slice(results.length)) {
      const isLarge = ({ body }: Outgoing): boolean => body.length > target.taken
      const before = rest.findIndex(isLarge)
      try {
        if (before === 0) results.push(...(await this.#sendLarge(target, rest.slice(0, 1))))
        else results.push(...(await this.#sendPart(target, before === -1 ? rest : rest.slice(0, before))))
      } catch (error) {
        // Earlier parts may be stored: the caller must not send those again.
        if (results.length === 0) throw error
        return [...results, ...refused(rest, error)]
      }
    }
    return results
  }

  async #sendLarge(target: PublishConnection, messages: readonly Outgoing[]): Promise<readonly PublishResult[]> {
    const bytes = messages[0]?.body.length ?? 0
    const key = `\0large ${this.#large++}`
    const results = await this.#sendPart(target, messages, key)
    retireChannel(target, key)
    if (results[0]?.status === 'stored') target.taken = Math.max(target.taken, bytes)
    return results
  }

  /** Sends again the messages that the server did not read because it closed the channel for another one. */
  async #sendPart(
    target: PublishConnection,
    messages: readonly Outgoing[],
    key?: string,
  ): Promise<readonly PublishResult[]> {
    const outcomes = [...(await this.#publishOnce(target, messages, key))]
    for (let attempts = 1; attempts < MOST_ATTEMPTS && outcomes.includes('unread'); attempts++) {
      const unread = [...outcomes.keys()].filter((index) => outcomes[index] === 'unread')
      const rest = messages.filter((_, index) => outcomes[index] === 'unread')
      const again = await this.#publishOnce(target, rest, key).catch((error: unknown) => refused(rest, error))
      for (const [position, index] of unread.entries()) outcomes[index] = again[position] ?? 'unread'
    }
    return outcomes.map((outcome) => (outcome === 'unread' ? { status: 'refused', error: unread() } : outcome))
  }

  /** Rejects only if nothing was sent. */
  async #publishOnce(
    target: PublishConnection,
    messages: readonly Outgoing[],
    key?: string,
  ): Promise<readonly Outcome[]> {
    const { connection } = target
    const keys = messages.map((message) => key ?? this.#channelKeyOf(message))
    const channels = new Map<string, PublishChannel>()
    for (const name of keys) if (!channels.has(name)) channels.set(name, await this.#channel(target, name))
    return new Promise((resolve) => {
      const batch = new Batch(messages, (results) => {
        stop()
        for (const channel of channels.values()) channel.leave(batch)
        resolve(results)
      })
      const stop = startTimeout(ANSWER_TIMEOUT_MS, () => {
        // After an alarm the server reads all. Otherwise it is gone, which the connection detects, or a queue has no leader.
        if (connection.blockedBecause !== undefined)
          return batch.settleAll({ status: 'unknown', error: full(connection) })
        const unanswered = [...batch.open()]
        for (const [index, message] of unanswered) this.#giveUp(target, message, keys[index])
        batch.settleAll({ status: 'unknown', error: unconfirmed(unanswered.map(([, message]) => message)) })
      })
      connection.cork()
      for (const [index, name] of keys.entries()) channels.get(name)?.send(batch, index)
    })
  }

  #channelKeyOf({ exchange, routingKey }: Outgoing): string {
    return exchange === '' && this.#silent.has(routingKey) ? ownKey(routingKey) : exchange
  }

  /** Later messages must not wait behind an unconfirmed one. */
  #giveUp(target: PublishConnection, { exchange, routingKey }: Outgoing, key = exchange): void {
    if (key === exchange) this.#retire(target)
    else retireChannel(target, key)
    if (exchange === '') this.#silent.add(routingKey)
  }

  #channel(target: PublishConnection, key: string): Promise<PublishChannel> {
    const { connection, channels } = target
    let channel = channels.get(key)
    if (channel === undefined) {
      const opening = connection.confirmChannel().then((channel) => {
        const forget = (): void => void (channels.get(key) === opening && channels.delete(key))
        const opened = new PublishChannel(channel, forget, (queue) => {
          if (this.#silent.size > 0 && key === ownKey(queue) && this.#silent.delete(queue)) retireChannel(target, key)
        })
        channel.once('close', () => {
          forget()
          if (!opened.isDone) this.#onFailure()
        })
        return opened
      })
      channel = opening
      channels.set(key, channel)
      channel.catch(() => channels.delete(key))
    }
    return channel
  }
}

/** A connection that publishes. */
interface PublishConnection {
  readonly connection: AmqpConnection
  /** A channel for each exchange, and for each queue that is silent. */
  readonly channels: Map<string, Promise<PublishChannel>>
  /** Calls that it has not answered. */
  underWay: number
  isRetired: boolean
  /** The server accepts a body of this many bytes. */
  taken: number
}

/** Results of messages that were not sent because of this error. */
function refused(messages: readonly Outgoing[], error: unknown): readonly PublishResult[] {
  return messages.map(() => ({ status: 'refused', error }))
}

/** The key of a silent queue. No exchange has such a name. */
function ownKey(queue: string): string {
  return `\0${queue}`
}

function retireChannel({ channels }: PublishConnection, key: string): void {
  channels.get(key)?.then(
    (channel) => channel.retire(),
    () => undefined,
  )
}

async function whileBlocked(connection: AmqpConnection): Promise<PublishResult | undefined> {
  if (connection.blockedBecause === undefined) return undefined
  let late = false
  await new Promise<void>((resolve) => {
    const stop = startTimeout(BLOCKED_PATIENCE_MS, () => ((late = true), resolve()))
    void connection.unblocked().then(() => (stop(), resolve()))
  })
  return late ? { status: 'refused', error: full(connection) } : undefined
}

function full(connection: AmqpConnection): BrokerError {
  const because = connection.blockedBecause ?? 'resource alarm'
  return new BrokerError('ZYQ_BROKER_FULL', `RabbitMQ accepts no jobs at the moment (${because})`)
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
  return new BrokerError('ZYQ_BROKER_BUSY', 'RabbitMQ closed the channel of the job repeatedly because of other jobs')
}

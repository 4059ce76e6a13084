import type { Channel } from 'amqplib'
import type { DeclareChannel } from '../connection/declare-channel.ts'
import { OWN_HEADER } from '../message.ts'
import { NO_DELIVERY_LIMIT } from '../options.ts'

/**
 * Delays without a plugin, as NServiceBus and kombu have them: queues with a fixed time each, so that no message waits behind
 * a longer one. Level n holds each message for 50 ms × 2ⁿ. A message passes the levels whose bits its delay has set, the
 * longest first. The server moves it on when its time is over and keeps it until the next queue has it (at-least-once
 * dead-lettering, from 3.10 on).
 *
 * A queue of 4.x delivers priorities above 4 first, and would expire a lower one only behind them. There are two sets of
 * levels on 4.x for this reason.
 */
const UNIT_MS = 50
const LEVELS = 24
/** Nearly ten days. A longer delay ends here; the consumer that receives the job then delays it again. */
const MAX_UNITS = 2 ** LEVELS - 1
const PREFIX = 'zyqueue.delay'
const HIGHEST_NORMAL_PRIORITY = 4

/** Gets messages whose delay is over, and sends them to the exchange that a header names, or to the queue of their routing key. */
const DUE = 'zyqueue.due'
const DUE_QUEUES = 'zyqueue.due.queues'
/** Keeps delayed jobs of deleted queues. Without it they would hold up their level. */
export const ORPHANS = 'zyqueue.orphans'

/** Where a delayed message is published, and with which headers. */
export interface Departure {
  readonly exchange: string
  readonly headers: Readonly<Record<string, string>>
}

/** Where a delayed message is to arrive: at an exchange, or at a queue if `exchange` is empty. */
export interface Destination {
  readonly exchange: string
  readonly queue: string
}

/** The levels that a delay passes, the longest first. Never shorter than the delay, and longer by less than 50 ms. */
export function levelsOf(delayMs: number): readonly number[] {
  const units = Math.min(Math.ceil(delayMs / UNIT_MS), MAX_UNITS)
  const levels = Array.from({ length: LEVELS }, (_, level) => level)
  return levels.filter((level) => (units & (1 << level)) !== 0).toReversed()
}

export function ttlOf(level: number): number {
  return UNIT_MS * 2 ** level
}

/** Declares the levels once for each connection, when the first queue is declared. */
export class DelayLevels {
  readonly #declareChannel: DeclareChannel
  #declared = new Map<string, Promise<void>>()

  constructor(declareChannel: DeclareChannel) {
    this.#declareChannel = declareChannel
  }

  /** The queues of all levels. */
  get queues(): readonly string[] {
    return this.#sets.flatMap((set) => Array.from({ length: LEVELS }, (_, level) => entryOf(set, level)))
  }

  /** Declares the levels and the way from their end to the destination. */
  async declare({ exchange, queue }: Destination): Promise<void> {
    await this.#once('levels', () => this.#declareLevels())
    if (exchange === '') {
      return this.#once(queue, () =>
        this.#declareChannel.run(async (channel) => void (await channel.bindQueue(queue, DUE_QUEUES, queue))),
      )
    }
    return this.#once(`exchange ${exchange}`, () =>
      this.#declareChannel.make((channel) => declareExchangeQueue(channel, exchange)),
    )
  }

  departureOf(delayMs: number, priority: number, exchange = ''): Departure {
    const headers: Record<string, string> = {}
    const levels = levelsOf(delayMs)
    for (const level of levels) headers[OWN_HEADER.delay + level] = ''
    if (delayMs > MAX_UNITS * UNIT_MS) headers[OWN_HEADER.readyAt] = String(Date.now() + delayMs)
    if (exchange !== '') headers[OWN_HEADER.exchange] = exchange
    const set = this.#sets.length > 1 && priority > HIGHEST_NORMAL_PRIORITY ? 'high' : 'normal'
    return { exchange: entryOf(set, levels[0] ?? -1), headers }
  }

  /** Must be called if something may have been deleted. */
  forget(): void {
    this.#declared = new Map()
  }

  get #sets(): readonly string[] {
    return this.#declareChannel.knowsQuorumPriorities ? ['normal', 'high'] : ['normal']
  }

  async #declareLevels(): Promise<void> {
    await this.#declareChannel.make(declareEnd)
    for (const set of this.#sets) {
      await this.#declareChannel.make(async (channel) => {
        // From the end, so that no message expires into nothing.
        for (let level = 0; level < LEVELS; level++) await declareLevel(channel, set, level)
      })
    }
  }

  #once(what: string, declare: () => Promise<void>): Promise<void> {
    let declared = this.#declared.get(what)
    if (declared === undefined) {
      declared = declare()
      this.#declared.set(what, declared)
      declared.catch(() => this.#declared.delete(what))
    }
    return declared
  }
}

/** The exchange and the queue of a level have one name. */
function entryOf(set: string, level: number): string {
  return level < 0 ? DUE : `${PREFIX}.v2.${set}.${level}`
}

async function declareLevel(channel: Channel, set: string, level: number): Promise<void> {
  const entry = entryOf(set, level)
  const next = entryOf(set, level - 1)
  await channel.assertQueue(entry, { durable: true, arguments: expiring(ttlOf(level), next) })
  // A message without the header of this level goes on to the next one at once.
  await channel.assertExchange(entry, 'headers', { durable: true, alternateExchange: next })
  await channel.bindQueue(entry, entry, '', { 'x-match': 'all', [OWN_HEADER.delay + level]: '' })
}

async function declareEnd(channel: Channel): Promise<void> {
  await channel.assertExchange(ORPHANS, 'fanout', { durable: true })
  await channel.assertQueue(ORPHANS, { durable: true, arguments: keeping() })
  await channel.bindQueue(ORPHANS, ORPHANS, '')
  await channel.assertExchange(DUE_QUEUES, 'direct', { durable: true, alternateExchange: ORPHANS })
  await channel.assertExchange(DUE, 'headers', { durable: true, alternateExchange: DUE_QUEUES })
}

/** A queue before an exchange: a message that the exchange cannot route waits here and holds up no other. */
async function declareExchangeQueue(channel: Channel, exchange: string): Promise<void> {
  const queue = `${DUE}.to.${exchange}`
  await channel.assertQueue(queue, { durable: true, arguments: expiring(0, exchange) })
  await channel.bindQueue(queue, DUE, '', { 'x-match': 'all', [OWN_HEADER.exchange]: exchange })
}

function keeping(): Record<string, string | number> {
  return { 'x-queue-type': 'quorum', 'x-delivery-limit': NO_DELIVERY_LIMIT }
}

function expiring(ttlMs: number, next: string): Record<string, string | number> {
  return {
    ...keeping(),
    'x-message-ttl': ttlMs,
    'x-dead-letter-exchange': next,
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
  }
}

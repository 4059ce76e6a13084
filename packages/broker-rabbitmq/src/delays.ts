import type { Channel } from 'amqplib'
import { BrokerError } from '@zyqueue/core/broker'
import { OWN_HEADER } from './message.ts'
import { NO_DELIVERY_LIMIT } from './options.ts'
import { afterSteps, PATIENCE_MS } from './patience.ts'
import type { Registry } from './registry.ts'
import type { Workbench } from './workbench.ts'

/**
 * Delays of any length without a plugin: a ladder of queues, each of which holds every message for the same time, so that
 * none waits behind a longer one. Level n holds for 16 ms × 2ⁿ. A message passes the levels whose bits its delay has set,
 * the longest first, and is then where it was to go. Nobody consumes these queues: the server moves the messages on when
 * their time is over, and keeps each until the next queue has it (at-least-once dead-lettering, from 3.10 on).
 *
 * The ladder is one for all queues of a virtual host, and its levels are made when they are first needed. Each priority
 * has a ladder of its own: where a queue keeps priorities, a long higher one would hold up the expiry of the lower.
 */
const UNIT_MS = 16
/** The longest that one queue holds: RabbitMQ takes a TTL of less than 2³² ms. Higher levels are several queues in a row. */
const LONGEST_LEVEL = 27
const PREFIX = 'zyqueue.delay'

/** Where those whose time has come go: to an exchange, which the message names, or else to the queue of its routing key. */
const DUE = 'zyqueue.due'
const DUE_QUEUES = 'zyqueue.due.queues'
/** What is due for a queue that was deleted meanwhile. It would hold up the others if it stayed where it is. */
export const ORPHANS = 'zyqueue.orphans'

/** Where a delayed message is published, and with which headers. */
export interface Departure {
  readonly exchange: string
  readonly headers: Readonly<Record<string, string>>
}

export interface Destination {
  /** Empty for the default one: the routing key is then the queue. */
  readonly exchange: string
  readonly queue: string
}

/** The levels that a delay passes, the longest first; never shorter than the delay, and longer by less than 16 ms. */
export function levelsOf(delayMs: number): readonly number[] {
  const levels: number[] = []
  // Not with bit operations: ten years are more than 32 bits of units.
  for (let units = Math.ceil(delayMs / UNIT_MS), level = 0; units > 0; units = Math.floor(units / 2), level++) {
    if (units % 2 === 1) levels.unshift(level)
  }
  return levels
}

/** The queues that make up a level, and how long each holds. */
export function queuesOfLevel(
  priority: number,
  level: number,
): readonly { readonly name: string; readonly ttlMs: number }[] {
  const count = 2 ** Math.max(0, level - LONGEST_LEVEL)
  const ttlMs = UNIT_MS * 2 ** Math.min(level, LONGEST_LEVEL)
  const name = entryOf(priority, level)
  return Array.from({ length: count }, (_, index) => ({ name: index === 0 ? name : `${name}.${index + 1}`, ttlMs }))
}

/** The exchange in front of a level. */
function entryOf(priority: number, level: number): string {
  return level < 0 ? DUE : `${PREFIX}.${priority}.${level}`
}

/** A part of the ladder that is being made, or is there. */
interface Step {
  readonly made: Promise<void>
  isMade: boolean
}

/** Knows what of the ladder exists. */
export class Ladder {
  readonly #workbench: Workbench
  readonly #registry: Registry
  #steps = new Map<string, Step>()

  constructor(workbench: Workbench, registry: Registry) {
    this.#workbench = workbench
    this.#registry = registry
  }

  /**
   * Makes what a delay needs, and says where to publish to. Rejects with `ZYQ_BROKER_BUSY` where that takes long: a delay of
   * years needs more than a hundred queues. They are made all the same, for whoever asks again.
   */
  async prepare(delayMs: number, priority: number, destination: Destination): Promise<Departure> {
    const levels = levelsOf(delayMs)
    const [highest = 0] = levels
    const until = performance.now() + PATIENCE_MS
    const once = (what: string, make: () => Promise<void>): Promise<void> => this.#once(what, make, until)
    await once('due', () => this.#workbench.make(makeDue))
    await this.#prepareDestination(destination, once)
    for (let level = 0; level <= highest; level++) {
      await once(entryOf(priority, level), () => this.#workbench.run((channel) => makeEntry(channel, priority, level)))
      if (levels.includes(level))
        await once(`queues of ${entryOf(priority, level)}`, () => this.#makeLevel(priority, level))
    }
    const headers: Record<string, string> = {}
    for (const level of levels) headers[OWN_HEADER.delay + level] = ''
    if (destination.exchange !== '') headers[OWN_HEADER.exchange] = destination.exchange
    return { exchange: entryOf(priority, highest), headers }
  }

  /** Makes sure that delayed jobs of this queue arrive in it. Rejects as `prepare` does. */
  async prepareQueue(queue: string): Promise<void> {
    const until = performance.now() + PATIENCE_MS
    const once = (what: string, make: () => Promise<void>): Promise<void> => this.#once(what, make, until)
    await once('due', () => this.#workbench.make(makeDue))
    await this.#prepareDestination({ exchange: '', queue }, once)
  }

  /** Must be called if something may have been deleted. */
  forget(): void {
    this.#steps = new Map()
  }

  /** Must be called if this queue may have been deleted. */
  forgetQueue(queue: string): void {
    this.#steps.delete(stepOf(queue))
  }

  async #prepareDestination(
    { exchange, queue }: Destination,
    once: (what: string, make: () => Promise<void>) => Promise<void>,
  ): Promise<void> {
    if (exchange === '') {
      return once(stepOf(queue), () =>
        this.#workbench.run(async (channel) => void (await channel.bindQueue(queue, DUE_QUEUES, queue))),
      )
    }
    return once(`exchange ${exchange}`, () => this.#workbench.make((channel) => makeGate(channel, exchange)))
  }

  /** One queue at a time: a level of years has a hundred, and each may take as long as the server may take to answer. */
  async #makeLevel(priority: number, level: number): Promise<void> {
    const entry = entryOf(priority, level)
    const queues = queuesOfLevel(priority, level)
    for (const { name } of queues) await this.#registry.addLevel(name)
    // From its end, so that none ever expires into nothing.
    for (const [index, { name, ttlMs }] of [...queues.entries()].toReversed()) {
      const next = queues[index + 1]?.name ?? entryOf(priority, level - 1)
      await this.#workbench.run(async (channel) => {
        await channel.assertQueue(name, { durable: true, arguments: holding(ttlMs, next) })
        if (index === 0) return
        await channel.assertExchange(name, 'fanout', { durable: true })
        await channel.bindQueue(name, name, '')
      })
    }
    const conditions = { 'x-match': 'all', [OWN_HEADER.delay + level]: '' }
    await this.#workbench.make(async (channel) => void (await channel.bindQueue(entry, entry, '', conditions)))
  }

  /** What is made already costs no timer: a job that is delayed finds nearly all of it so. */
  #once(what: string, make: () => Promise<void>, until: number): Promise<void> {
    let step = this.#steps.get(what)
    if (step === undefined) {
      const begun: Step = { made: make(), isMade: false }
      step = begun
      this.#steps.set(what, begun)
      begun.made.then(
        () => (begun.isMade = true),
        () => {
          if (this.#steps.get(what) === begun) this.#steps.delete(what)
        },
      )
    }
    return step.isMade ? step.made : unlessLate(step.made, until)
  }
}

/** The step that binds a queue to the end of the ladder. */
function stepOf(queue: string): string {
  return `queue ${queue}`
}

function unlessLate(made: Promise<void>, until: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = afterSteps(until - performance.now(), () =>
      reject(new BrokerError('ZYQ_BROKER_BUSY', 'RabbitMQ is still making the queues of a delay')),
    )
    made.then(resolve, reject).finally(stop)
  })
}

async function makeDue(channel: Channel): Promise<void> {
  await channel.assertExchange(ORPHANS, 'fanout', { durable: true })
  await channel.assertQueue(ORPHANS, { durable: true, arguments: keeping() })
  await channel.bindQueue(ORPHANS, ORPHANS, '')
  await channel.assertExchange(DUE_QUEUES, 'direct', { durable: true, alternateExchange: ORPHANS })
  await channel.assertExchange(DUE, 'headers', { durable: true, alternateExchange: DUE_QUEUES })
}

/**
 * A queue of its own in front of an exchange that is somebody's: what nobody there takes yet waits in it, and holds up
 * nobody else's.
 */
async function makeGate(channel: Channel, exchange: string): Promise<void> {
  const gate = `${DUE}.to.${exchange}`
  await channel.assertQueue(gate, { durable: true, arguments: holding(0, exchange) })
  await channel.bindQueue(gate, DUE, '', { 'x-match': 'all', [OWN_HEADER.exchange]: exchange })
}

/** A message without this level's header goes on to the next level at once. */
async function makeEntry(channel: Channel, priority: number, level: number): Promise<void> {
  const options = { durable: true, alternateExchange: entryOf(priority, level - 1) }
  await channel.assertExchange(entryOf(priority, level), 'headers', options)
}

function keeping(): Record<string, string | number> {
  return { 'x-queue-type': 'quorum', 'x-delivery-limit': NO_DELIVERY_LIMIT }
}

function holding(ttlMs: number, next: string): Record<string, string | number> {
  return {
    ...keeping(),
    'x-message-ttl': ttlMs,
    'x-dead-letter-exchange': next,
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
  }
}

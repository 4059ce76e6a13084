import {
  ConsumerBase,
  type ConsumeOptions,
  type Delivery,
  type Rejection,
  type Release,
  type Settled,
  type Settlement,
  type SettleResult,
} from '@zyqueue/core/broker'
import { Claims, POLL_MS, type ClaimedJob } from './claims.ts'
import type { Argument } from '../connection/client.ts'
import { notConnectedError } from '../errors.ts'
import type { QueueKeys } from '../keys.ts'
import { Leases } from './leases.ts'
import { describeUnreadable, encodeMessage, readMessage, UNREADABLE } from '../message.ts'
import { chunks, integer, type Reply } from '../connection/replies.ts'
import { wakeNext } from '../scripts/lease.ts'
import { ack, reject, release } from '../scripts/settle.ts'
import type { Servers } from '../connection/servers.ts'

/** The maximum number of jobs for one script, because Lua's stack is limited. */
const MAX_PER_SCRIPT = 1000

const LEASE_LOST: SettleResult = Object.freeze({ status: 'lease-lost' })
const OK: SettleResult = Object.freeze({ status: 'ok' })

/** The data of an unsettled delivery. */
interface HeldJob {
  readonly keys: QueueKeys
  /** The number of the delivery. The scripts settle a job only under this number. */
  readonly tag: number
  readonly order: number
  readonly deliveries: number
  readonly storedAtMs: number
}

type RunScript<Item> = (keys: QueueKeys, heldKey: string, items: readonly Settlement<Item, HeldJob>[]) => Promise<Reply>

export class RedisConsumer extends ConsumerBase<HeldJob> {
  readonly queues: readonly QueueKeys[]
  readonly #servers: Servers
  readonly #leases: Leases
  readonly #claims: Claims
  readonly #byWaiters: ReadonlyMap<string, QueueKeys>
  #receiving = false

  /** Opens the lease in all queues. `onClosed` is called once, when the lease has ended. */
  static async open(servers: Servers, options: ConsumeOptions, onClosed: () => void): Promise<RedisConsumer> {
    const consumer = new RedisConsumer(servers, options, onClosed)
    await servers.subscribe(servers.keys.wake + options.consumerId)
    try {
      await consumer.#leases.open(consumer.queues, options)
      return consumer
    } catch (error) {
      await servers.unsubscribe(servers.keys.wake + options.consumerId).catch(() => {})
      throw error
    }
  }

  private constructor(servers: Servers, options: ConsumeOptions, onClosed: () => void) {
    super(options, onClosed)
    this.#servers = servers
    this.#leases = new Leases(servers)
    this.queues = [...new Set(options.queues.map(({ name }) => name))].map((name) => servers.keys.of(name))
    this.#byWaiters = new Map(this.queues.map((keys) => [keys.waiters, keys]))
    this.#claims = new Claims(servers, this.#leases, this.queues, options.consumerId)
  }

  override async receive(max: number, options: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    this.#receiving = true
    try {
      return await super.receive(max, options)
    } finally {
      this.#receiving = false
    }
  }

  /** Called when Redis publishes that the queue with this set of waiters has a job. */
  wake(waiters: string): void {
    const keys = this.#byWaiters.get(waiters)
    if (keys === undefined) return
    this.#claims.markDirty(keys)
    this.notify()
    if (this.#receiving && this.unacked.size < this.options.prefetch) return
    // Another consumer may be free. If this call fails, that consumer finds the job with its next poll.
    const { consumerId } = this.options
    this.#servers.run(wakeNext, [keys.waiters, keys.leases], [consumerId, this.#servers.keys.wake]).catch(() => {})
  }

  protected override get nextClaimMs(): number {
    return this.#claims.dueInMs
  }

  protected async claim(room: number, isStopped: () => boolean): Promise<readonly Delivery[]> {
    if (!this.#servers.isSubscribed) {
      this.#claims.pollAll()
      throw notConnectedError()
    }
    const until = performance.now() + POLL_MS
    while (this.#claims.dueInMs === 0 && !isStopped() && performance.now() < until) {
      const claimed = await this.#claims.claim(Math.min(room, MAX_PER_SCRIPT))
      if (claimed.length > 0) return claimed.map((job) => this.#deliver(job))
    }
    return []
  }

  protected override settlementKey({ keys }: HeldJob): QueueKeys {
    return keys
  }

  protected sendAcks(settlements: readonly Settlement<Delivery, HeldJob>[]): Promise<Settled> {
    return this.#send(settlements, ({ leases }, held, items) =>
      this.#servers.run(ack, [leases, held], [this.options.consumerId, ...items.map((item) => item.held.tag)]),
    )
  }

  protected sendReleases(settlements: readonly Settlement<Release, HeldJob>[]): Promise<Settled> {
    return this.#send(settlements, ({ leases, ready, sorted, delayed, waiters }, held, items) => {
      const args: Argument[] = [this.options.consumerId, this.#servers.keys.wake]
      for (const { item, held: job } of items) args.push(job.tag, Math.ceil(item.delayMs), replacement(item, job))
      return this.#servers.run(release, [leases, held, ready, sorted, delayed, waiters], args)
    })
  }

  protected sendRejections(settlements: readonly Settlement<Rejection, HeldJob>[]): Promise<Settled> {
    return this.#send(settlements, ({ leases, dead, died }, held, items) => {
      const args: Argument[] = [this.options.consumerId]
      for (const { item, held: job } of items) {
        args.push(job.tag, item.delivery.id, item.reason, replacement(item, job))
      }
      return this.#servers.run(reject, [leases, held, dead, died], args)
    })
  }

  protected async end(): Promise<void> {
    const { consumerId } = this.options
    await Promise.all([
      this.#servers.unsubscribe(this.#servers.keys.wake + consumerId),
      this.#leases.end(consumerId, this.queues, 'closed'),
    ])
  }

  #deliver({ keys, tag, encoded }: ClaimedJob): Delivery {
    const message = readMessage(encoded)
    if (message === undefined) return this.#deliverUnreadable(keys, tag, encoded)
    const { id, body, headers, priority, deliveries, storedAtMs, order } = message
    const delivery: Delivery = { id, queue: keys.queue, body, headers, priority, deliveryCount: deliveries, storedAtMs }
    this.unacked.add(delivery, { keys, tag, order: order === 0 ? tag : order, deliveries, storedAtMs })
    return delivery
  }

  /** Core rejects this delivery. Its bytes stay as they are, and headers that core adds are dropped. */
  #deliverUnreadable(keys: QueueKeys, tag: number, body: Buffer): Delivery {
    const undecodable = describeUnreadable(body)
    const id = `${UNREADABLE}-${tag}`
    const delivery = { id, queue: keys.queue, body, headers: {}, priority: 4, deliveryCount: 0, undecodable }
    this.unacked.add(delivery, { keys, tag, order: tag, deliveries: 0, storedAtMs: 0 })
    return delivery
  }

  /** Runs one script for at most 1,000 jobs of a queue. The script does nothing if the lease has ended. */
  async #send<Item>(settlements: readonly Settlement<Item, HeldJob>[], run: RunScript<Item>): Promise<Settled> {
    const results = chunks(settlements, MAX_PER_SCRIPT).map(async (portion) => {
      const result = await this.#resultOf(portion, run)
      return portion.map(() => result)
    })
    return (await Promise.all(results)).flat()
  }

  async #resultOf<Item>(portion: readonly Settlement<Item, HeldJob>[], run: RunScript<Item>): Promise<SettleResult> {
    const keys = portion[0]?.held.keys
    if (keys === undefined) return LEASE_LOST
    try {
      return integer(await run(keys, keys.held(this.options.consumerId), portion)) === 1 ? OK : LEASE_LOST
    } catch (error) {
      return { status: 'unknown', error }
    }
  }
}

/** The whole message with other headers. An empty string keeps the stored message. */
function replacement({ delivery, headers }: Pick<Release, 'delivery' | 'headers'>, job: HeldJob): Buffer | '' {
  const isKept = headers === undefined || delivery.undecodable !== undefined
  return isKept ? '' : encodeMessage({ ...delivery, headers, ...job })
}

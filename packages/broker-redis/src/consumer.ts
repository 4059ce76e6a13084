import {
  Bell,
  type ConsumeOptions,
  type Consumer,
  type Delivery,
  type Rejection,
  type Release,
  type SettleResult,
} from '@zyqueue/core/broker'
import type { Argument } from './client.ts'
import { Claims, LOOK_MS, type Claimed } from './claims.ts'
import { closed, isPutOff, notConnected } from './errors.ts'
import type { Keys, QueueKeys } from './keys.ts'
import { Leases } from './leases.ts'
import { encodeMessage, readMessage, UNREADABLE } from './message.ts'
import { integer, type Reply } from './replies.ts'
import { passOn } from './scripts/lease.ts'
import { ack, reject, release } from './scripts/settle.ts'
import type { Servers } from './servers.ts'

/** The most jobs of one script: what Lua's stack takes is bounded. */
const MAX_PER_SCRIPT = 1000

const LEASE_LOST: SettleResult = Object.freeze({ status: 'lease-lost' })
const OK: SettleResult = Object.freeze({ status: 'ok' })

interface InHand {
  readonly keys: QueueKeys
  /** The number of the delivery: the fence. */
  readonly tag: number
  readonly order: number
  readonly deliveries: number
  readonly storedAtMs: number
}

export class RedisConsumer implements Consumer {
  readonly queues: readonly QueueKeys[]
  readonly #servers: Servers
  readonly #names: Keys
  readonly #leases: Leases
  readonly #options: ConsumeOptions
  readonly #onClosed: () => void
  /** What is not here is not this consumer's to settle. */
  readonly #inHand = new Map<Delivery, InHand>()
  /** Settlements that are not answered yet still fill the prefetch. */
  #settling = 0
  readonly #claims: Claims
  readonly #byWaiters: ReadonlyMap<string, QueueKeys>
  /** Claimed for calls that were aborted, and not surely given back. */
  #unwanted: Delivery[] = []
  #receiving = false
  /** Resolves when no call of `receive` has anything under way. */
  #taken: Promise<void> = Promise.resolve()
  readonly #bell = new Bell()
  #stopReceiving: () => void = () => {}
  #closing: Promise<void> | undefined

  /** Opens the lease, in all queues. `onClosed` is called once, when it has ended. */
  static async open(
    servers: Servers,
    names: Keys,
    options: ConsumeOptions,
    onClosed: () => void,
  ): Promise<RedisConsumer> {
    const consumer = new RedisConsumer(servers, names, options, onClosed)
    await servers.subscribe(names.wake + options.consumerId)
    try {
      await consumer.#leases.open(consumer.queues, options)
      return consumer
    } catch (error) {
      await servers.unsubscribe(names.wake + options.consumerId).catch(() => {})
      throw error
    }
  }

  private constructor(servers: Servers, names: Keys, options: ConsumeOptions, onClosed: () => void) {
    this.#servers = servers
    this.#names = names
    this.#leases = new Leases(servers, names)
    this.#options = options
    this.#onClosed = onClosed
    this.queues = [...new Set(options.queues.map(({ name }) => name))].map((name) => names.of(name))
    this.#byWaiters = new Map(this.queues.map((keys) => [keys.waiters, keys]))
    this.#claims = new Claims(servers, names, this.#leases, this.queues, options.consumerId)
  }

  receive(max: number, { signal }: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    if (this.#closing !== undefined) return Promise.reject(closed())
    if (signal.aborted) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      let stopped = false
      const stop = (): void => {
        stopped = true
        resolve([])
        this.#bell.ring()
      }
      this.#stopReceiving = stop
      signal.addEventListener('abort', stop, { once: true })
      // What an aborted call has under way is to end first: one claim at a time.
      const taking = this.#taken.then(() => this.#take(max, () => stopped))
      this.#taken = taking.then(resolve, reject).finally(() => {
        signal.removeEventListener('abort', stop)
        this.#receiving = false
      })
    })
  }

  /** Something is ready in the queue of this set of waiters. */
  wake(waiters: string): void {
    const keys = this.#byWaiters.get(waiters)
    if (keys === undefined) return
    this.#claims.heat(keys)
    this.#bell.ring()
    if (!this.#receiving || this.#room(1) === 0) {
      // Somebody else may be free. Should it fail, they look by themselves.
      const { consumerId } = this.#options
      this.#servers.run(passOn, [keys.waiters, keys.leases], [consumerId, this.#names.wake]).catch(() => {})
    }
  }

  async ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(deliveries, identity, ({ leases }, held, items) =>
      this.#servers.run(ack, [leases, held], [this.#options.consumerId, ...items.map(({ hand }) => hand.tag)]),
    )
  }

  async release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    return this.#settle(releases, deliveryOf, ({ leases, ready, sorted, delayed, waiters }, held, items) => {
      const args: Argument[] = [this.#options.consumerId, this.#names.wake]
      for (const { item, hand } of items) args.push(hand.tag, Math.ceil(item.delayMs), changed(item, hand))
      return this.#servers.run(release, [leases, held, ready, sorted, delayed, waiters], args)
    })
  }

  async reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]> {
    return this.#settle(rejections, deliveryOf, ({ leases, dead, died }, held, items) => {
      const args: Argument[] = [this.#options.consumerId]
      for (const { item, hand } of items) args.push(hand.tag, item.delivery.id, item.reason, changed(item, hand))
      return this.#servers.run(reject, [leases, held, dead, died], args)
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#stopReceiving()
    const { consumerId } = this.#options
    try {
      await Promise.all([
        this.#servers.unsubscribe(this.#names.wake + consumerId),
        this.#leases.end(consumerId, this.queues, 'closed'),
      ])
    } catch {
      // Redis is away: the lease runs out by itself.
    }
    this.#inHand.clear()
    this.#onClosed()
  }

  /** How many more jobs it may have, at most `max`. */
  #room(max: number): number {
    return Math.min(max, MAX_PER_SCRIPT, this.#options.prefetch - this.#inHand.size - this.#settling)
  }

  async #take(max: number, stopped: () => boolean): Promise<readonly Delivery[]> {
    this.#receiving = true
    const until = performance.now() + LOOK_MS
    if (this.#unwanted.length > 0) await this.#giveBack()
    while (!stopped()) {
      if (!this.#servers.hears) {
        this.#claims.lookAtAll()
        throw notConnected()
      }
      const room = this.#room(max)
      if (room > 0 && this.#claims.dueInMs === 0) {
        const deliveries = (await this.#claims.claim(room)).map((claimed) => this.#deliver(claimed))
        if (deliveries.length === 0) {
          if (performance.now() >= until) break
          continue
        }
        if (!stopped()) return deliveries
        this.#unwanted = deliveries
        await this.#giveBack()
      } else {
        const left = until - performance.now()
        if (left <= 0) break
        // Without room, what comes due is of no use: a settlement rings.
        await this.#bell.wait(Math.max(1, room > 0 ? Math.min(left, this.#claims.dueInMs) : left))
      }
    }
    return []
  }

  #deliver({ keys, tag, encoded }: Claimed): Delivery {
    const message = readMessage(encoded)
    if (message === undefined) return this.#deliverUnreadable(keys, tag, encoded)
    const { id, body, headers, priority, deliveries, storedAtMs, order } = message
    const delivery: Delivery = { id, queue: keys.queue, body, headers, priority, deliveryCount: deliveries, storedAtMs }
    this.#inHand.set(delivery, { keys, tag, order: order === 0 ? tag : order, deliveries, storedAtMs })
    return delivery
  }

  /** Core rejects it. Its bytes stay as they are: headers that core adds are dropped. */
  #deliverUnreadable(keys: QueueKeys, tag: number, body: Buffer): Delivery {
    const undecodable = 'the stored job cannot be read: another program has written to its key'
    const id = `${UNREADABLE}-${tag}`
    const delivery = { id, queue: keys.queue, body, headers: {}, priority: 4, deliveryCount: 0, undecodable }
    this.#inHand.set(delivery, { keys, tag, order: tag, deliveries: 0, storedAtMs: 0 })
    return delivery
  }

  /** Nobody waits for these. While the answer to that is unknown they may be in other hands: it is said again, first of all. */
  async #giveBack(): Promise<void> {
    const results = await this.release(this.#unwanted.map((delivery) => ({ delivery, delayMs: 0 })))
    this.#unwanted = this.#unwanted.filter((_, index) => results[index]?.status === 'unknown')
    const [failed] = results.filter((result) => result.status === 'unknown')
    if (failed !== undefined) throw failed.error
  }

  /**
   * One script for each queue. Two fences: a delivery that this consumer has settled is not in `#inHand`; and where the lease
   * has ended, the script does nothing. Where the answer was lost it is in hand still, and to be settled again.
   */
  async #settle<Item>(
    items: readonly Item[],
    deliveryOf: (item: Item) => Delivery,
    send: (keys: QueueKeys, held: string, items: readonly { item: Item; hand: InHand }[]) => Promise<Reply>,
  ): Promise<readonly SettleResult[]> {
    if (this.#closing !== undefined) throw closed()
    const results: SettleResult[] = items.map(() => LEASE_LOST)
    const groups = new Map<QueueKeys, { index: number; item: Item; hand: InHand }[]>()
    for (const [index, item] of items.entries()) {
      const delivery = deliveryOf(item)
      const hand = this.#inHand.get(delivery)
      if (hand === undefined) continue
      this.#inHand.delete(delivery)
      const group = groups.get(hand.keys)
      if (group === undefined) groups.set(hand.keys, [{ index, item, hand }])
      else group.push({ index, item, hand })
    }
    const scripts = [...groups].flatMap(([keys, group]) =>
      portions(group, MAX_PER_SCRIPT).map((portion) => ({ keys, portion })),
    )
    let notSent = 0
    await Promise.all(
      scripts.map(async ({ keys, portion }) => {
        this.#settling += portion.length
        let result: SettleResult
        try {
          result = integer(await send(keys, keys.held(this.#options.consumerId), portion)) === 1 ? OK : LEASE_LOST
        } catch (error) {
          result = { status: 'unknown', error }
          if (isPutOff(error)) notSent++
          for (const { item, hand } of portion) this.#inHand.set(deliveryOf(item), hand)
        }
        this.#settling -= portion.length
        for (const { index } of portion) results[index] = result
      }),
    )
    this.#bell.ring()
    const [first] = results
    if (notSent > 0 && notSent === scripts.length && first?.status === 'unknown') throw first.error
    return results
  }
}

function identity(delivery: Delivery): Delivery {
  return delivery
}

function deliveryOf({ delivery }: { readonly delivery: Delivery }): Delivery {
  return delivery
}

/** The whole message with other headers; an empty string leaves the one that is stored. */
function changed({ delivery, headers }: Pick<Release, 'delivery' | 'headers'>, hand: InHand): Buffer | '' {
  const isKept = headers === undefined || delivery.undecodable !== undefined
  return isKept ? '' : encodeMessage({ ...delivery, headers, ...hand })
}

function portions<T>(items: readonly T[], most: number): readonly (readonly T[])[] {
  const result: (readonly T[])[] = []
  for (let start = 0; start < items.length; start += most) result.push(items.slice(start, start + most))
  return result
}

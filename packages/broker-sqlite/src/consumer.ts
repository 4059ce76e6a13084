import {
  Bell,
  type ConsumeOptions,
  type Consumer,
  type Delivery,
  type Rejection,
  type Release,
  type SettleResult,
} from '@zyqueue/core/broker'
import { integer } from './columns.ts'
import type { Database } from './database.ts'
import { closed, errorCode, leaseLost } from './errors.ts'
import {
  bury,
  claim,
  delay,
  letGo,
  makeReady,
  outlook,
  remove,
  rewrite,
  ripen,
  withWork,
  type ClaimedRow,
  type ClaimedRows,
  type Outlook,
} from './jobs.ts'
import { leaseNow } from './lease-clock.ts'
import { endExpired, endLease, openLease, stands } from './leases.ts'
import { readMessage } from './message.ts'
import type { Sql } from './sql.ts'
import { LOOK_MS } from './wake.ts'

const LEASE_LOST: SettleResult = { status: 'lease-lost' }
/** While jobs flow, the next claim need not look before it takes the lock. */
const FLOWING: Outlook = { work: true, nextMs: Infinity }
const NOTHING: ClaimedRows = { found: 0, rows: [] }
const OK: SettleResult = { status: 'ok' }

interface Claimed {
  readonly rows: readonly ClaimedRow[]
  /** The queue that was served last; the next claim begins behind it. */
  readonly lastQueue: number
  /** Jobs of others that are ready again, because their leases had run out. */
  readonly returned: number
}

interface InHand<Item> {
  readonly item: Item
  readonly seq: number
}

export class SqliteConsumer implements Consumer {
  readonly #database: Database
  readonly #options: ConsumeOptions
  /** The ids of its queues in ascending order, as a JSON array. */
  readonly #queues: string
  readonly #onClosed: () => void
  /** The fence: what this consumer holds is held by this id. Once it has ended, core makes another consumer. */
  readonly #lease: number
  /** The seq of each delivery that is in hand under the lease. What is not here is not this consumer's to settle. */
  readonly #inHand = new Map<Delivery, number>()
  /** Settlements that are not on the disk yet still fill the prefetch. */
  #settling = 0
  #lastQueue = 0
  /** The last claim found something. */
  #flowing = false
  readonly #bell = new Bell()
  #stopListening: (() => void) | undefined
  /** Settles the `receive` that is under way with []. */
  #stopReceiving: () => void = () => {}
  #closing: Promise<void> | undefined

  /** Opens the lease. `onClosed` is called once, when it has ended. */
  static async open(database: Database, options: ConsumeOptions, onClosed: () => void): Promise<SqliteConsumer> {
    const { queues, lease, returned } = await database.write((sql) => {
      const ids = new Set(options.queues.map(({ name }) => database.queueId(sql, name)))
      const queues = JSON.stringify([...ids].toSorted((a, b) => a - b))
      return { queues, ...openLease(sql, { ...options, queues }, leaseNow()) }
    })
    if (returned > 0) database.wakeSignal.wake()
    return new SqliteConsumer(database, options, queues, lease, onClosed)
  }

  private constructor(
    database: Database,
    options: ConsumeOptions,
    queues: string,
    lease: number,
    onClosed: () => void,
  ) {
    this.#database = database
    this.#options = options
    this.#queues = queues
    this.#lease = lease
    this.#onClosed = onClosed
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
      void this.#take(max, () => stopped)
        .then(resolve, (error: unknown) => reject(this.#database.lost ? leaseLost(this.#options.consumerId) : error))
        .finally(() => signal.removeEventListener('abort', stop))
    })
  }

  ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(
      deliveries,
      (delivery) => delivery,
      (sql, inHand) => remove(sql, seqsOf(inHand)),
    )
  }

  async release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    const results = await this.#settle(
      releases,
      ({ delivery }) => delivery,
      (sql, inHand) => {
        const now = Date.now()
        makeReady(sql, seqsOf(inHand.filter(({ item }) => item.delayMs <= 0)))
        for (const { item, seq } of inHand) {
          if (item.delayMs > 0) delay(sql, seq, now + Math.ceil(item.delayMs))
          if (item.headers) rewrite(sql, seq, { ...item.delivery, headers: item.headers })
        }
      },
    )
    this.#database.wakeSignal.wakeFor(releases.map(({ delayMs }) => delayMs))
    return results
  }

  reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]> {
    return this.#settle(
      rejections,
      ({ delivery }) => delivery,
      (sql, inHand) => {
        const now = Date.now()
        for (const { item, seq } of inHand) {
          bury(sql, seq, item.delivery.id, item.reason, now)
          if (item.headers) rewrite(sql, seq, { ...item.delivery, headers: item.headers })
        }
      },
    )
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#stopReceiving()
    this.#stopListening?.()
    try {
      const returned = await this.#database.write((sql) => {
        const inTime = stands(sql, this.#lease)
        return endLease(sql, this.#lease, inTime ? 'uncharged' : 'charged')
      })
      if (returned > 0) this.#database.wakeSignal.wake()
    } catch {
      // The file is gone or stays locked: the lease runs out by itself.
    }
    this.#inHand.clear()
    this.#onClosed()
  }

  async #take(max: number, stopped: () => boolean): Promise<readonly Delivery[]> {
    const until = performance.now() + LOOK_MS
    while (!stopped()) {
      const room = Math.min(max, this.#options.prefetch - this.#inHand.size - this.#settling)
      const { work, nextMs } = this.#flowing && room > 0 ? FLOWING : await this.#look()
      if (stopped()) break
      if (work && room > 0) {
        const deliveries = await this.#claimUnless(stopped, room)
        if (deliveries.length > 0) return deliveries
        // Either the flow has ended, or another was faster: look again.
        continue
      }
      const left = until - performance.now()
      if (left <= 0) break
      // Without room, what comes due is of no use: a settlement rings.
      const pause = room > 0 ? Math.min(left, nextMs) : left
      await this.#bell.wait(Math.max(1, pause))
    }
    return []
  }

  async #look(): Promise<Outlook> {
    // Listen first: a hint that comes after the look and before the wait still counts.
    this.#stopListening ??= this.#database.wakeSignal.listen(() => this.#bell.ring())
    return this.#database.read((sql) => {
      if (!stands(sql, this.#lease)) throw leaseLost(this.#options.consumerId)
      return outlook(sql, this.#queues)
    })
  }

  async #claimUnless(stopped: () => boolean, room: number): Promise<readonly Delivery[]> {
    const claimed = await this.#database.write((sql) => (stopped() ? undefined : this.#claim(sql, room)))
    if (claimed === undefined) return []
    const { rows, lastQueue, returned } = claimed
    if (returned > 0) this.#database.wakeSignal.wake()
    this.#lastQueue = lastQueue
    this.#flowing = rows.length > 0
    if (!stopped()) return rows.map((row) => this.#deliver(row))
    // Nobody waits for these any more. Should it fail, closing the consumer gives them back.
    await this.#giveBack(rows).catch(() => {})
    return []
  }

  /** Part of a write, and repeatable: it changes nothing of the consumer. */
  #claim(sql: Sql, room: number): Claimed {
    const returned = endExpired(sql, leaseNow())
    // Asked behind it: a lease that ran out just now would claim under an id that is gone.
    if (!stands(sql, this.#lease)) throw leaseLost(this.#options.consumerId)
    ripen(sql, this.#queues, Date.now())
    return { ...this.#claimFairly(sql, room), returned }
  }

  /** An equal share from each queue, and what one leaves goes to the others; the first is the one behind the last served. */
  #claimFairly(sql: Sql, room: number): Pick<Claimed, 'rows' | 'lastQueue'> {
    const queues = withWork(sql, this.#queues)
    let open = [...queues.filter((id) => id > this.#lastQueue), ...queues.filter((id) => id <= this.#lastQueue)]
    const rows: ClaimedRow[] = []
    let lastQueue = this.#lastQueue
    while (rows.length < room && open.length > 0) {
      const full: number[] = []
      for (const [index, queue] of open.entries()) {
        const share = Math.ceil((room - rows.length) / (open.length - index))
        const claimed = share > 0 ? claim(sql, this.#lease, queue, share) : NOTHING
        rows.push(...claimed.rows)
        if (claimed.rows.length > 0) lastQueue = queue
        if (claimed.found === share) full.push(queue)
      }
      open = full
    }
    return { rows, lastQueue }
  }

  async #giveBack(rows: readonly ClaimedRow[]): Promise<void> {
    if (rows.length === 0) return
    const seqs = rows.map((row) => integer(row[0]))
    await this.#database.write((sql) => {
      if (!stands(sql, this.#lease)) return
      letGo(sql, this.#lease, seqs)
      makeReady(sql, seqs)
    })
    this.#database.wakeSignal.wake()
  }

  #deliver([seqColumn, queue, rank, storedAt, deliveries, message]: ClaimedRow): Delivery {
    const seq = integer(seqColumn)
    const delivery: Delivery = {
      ...readMessage(seq, message),
      queue: this.#database.queueName(integer(queue)),
      priority: 9 - integer(rank),
      deliveryCount: integer(deliveries),
      storedAtMs: integer(storedAt),
    }
    this.#inHand.set(delivery, seq)
    return delivery
  }

  /**
   * Lets go of what is in hand, and has `act` do the rest in the same transaction. Two fences: a delivery that this consumer
   * has settled is not in `#inHand`; and where the lease has ended, nothing is done under its id any more.
   */
  async #settle<Item>(
    items: readonly Item[],
    deliveryOf: (item: Item) => Delivery,
    act: (sql: Sql, inHand: readonly InHand<Item>[]) => void,
  ): Promise<readonly SettleResult[]> {
    if (this.#closing !== undefined) throw closed()
    const found = items.map((item) => this.#takeOutOfHand(item, deliveryOf(item)))
    const inHand = found.filter((entry) => entry !== undefined)
    if (inHand.length === 0 || this.#database.lost) return found.map(() => LEASE_LOST)
    const answer = (result: SettleResult): readonly SettleResult[] =>
      found.map((entry) => (entry === undefined ? LEASE_LOST : result))
    this.#settling += inHand.length
    try {
      const stood = await this.#database.write((sql) => {
        if (!stands(sql, this.#lease)) return false
        letGo(sql, this.#lease, seqsOf(inHand))
        act(sql, inHand)
        return true
      })
      return answer(stood ? OK : LEASE_LOST)
    } catch (error) {
      if (errorCode(error) === 'ZYQ_OUTCOME_UNKNOWN') return answer({ status: 'unknown', error })
      // Nothing was changed: it is still in hand, and may be settled again.
      for (const { item, seq } of inHand) this.#inHand.set(deliveryOf(item), seq)
      throw error
    } finally {
      this.#settling -= inHand.length
      this.#bell.ring()
    }
  }

  #takeOutOfHand<Item>(item: Item, delivery: Delivery): InHand<Item> | undefined {
    const seq = this.#inHand.get(delivery)
    if (seq === undefined) return undefined
    this.#inHand.delete(delivery)
    return { item, seq }
  }
}

function seqsOf(inHand: readonly InHand<unknown>[]): readonly number[] {
  return inHand.map(({ seq }) => seq)
}

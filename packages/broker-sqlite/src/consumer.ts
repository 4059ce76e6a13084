import {
  ConsumerBase,
  type ConsumeOptions,
  type Delivery,
  type Rejection,
  type Release,
  type Settled,
  type Settlement,
} from '@zyqueue/core/broker'
import type { Database } from './database.ts'
import { integer } from './decode.ts'
import { errorCode, leaseLost } from './errors.ts'
import {
  claim,
  deadLetter,
  delay,
  makeReady,
  nextWork,
  promoteDue,
  remove,
  rewrite,
  unhold,
  withWork,
  type ClaimedRow,
  type ClaimedRows,
  type NextWork,
} from './jobs.ts'
import { leaseNow } from './lease-clock.ts'
import { endExpired, endLease, openLease, stands } from './leases.ts'
import { readMessage } from './message.ts'
import type { Sql } from './sql.ts'

const NOTHING: ClaimedRows = { found: 0, rows: [] }

interface Claimed {
  readonly rows: readonly ClaimedRow[]
  /** The queue that was served last. The next claim begins with the queue behind it. */
  readonly lastQueue: number
  /** Jobs of other consumers that are ready again because their leases have expired. */
  readonly returned: number
}

/**
 * A consumer keeps the `seq` of each delivery. Every claim and every settlement checks in its transaction that the lease has
 * not ended. An ended lease is never revived, and core then makes another consumer.
 */
export class SqliteConsumer extends ConsumerBase<number> {
  readonly #database: Database
  /** The ids of its queues in ascending order, as a JSON array. */
  readonly #queues: string
  readonly #lease: number
  #lastQueue = 0
  /** True if the last claim found jobs: the next one then takes the write lock without a poll. */
  #skipPoll = false
  #nextClaimMs = Infinity
  /** True after a commit with an unknown outcome: which jobs this consumer holds is not known any more. */
  #isUncertain = false
  #stopListening: (() => void) | undefined

  /** Opens the lease. `onClosed` is called once, when the consumer has closed. */
  static async open(database: Database, options: ConsumeOptions, onClosed: () => void): Promise<SqliteConsumer> {
    const { queues, lease, returned } = await database.write((sql) => {
      const ids = new Set(options.queues.map(({ name }) => database.queueId(sql, name)))
      const queues = JSON.stringify([...ids].toSorted((a, b) => a - b))
      return { queues, ...openLease(sql, { ...options, queues }, leaseNow()) }
    })
    if (returned > 0) database.wakeFile.wake()
    return new SqliteConsumer(database, options, queues, lease, onClosed)
  }

  private constructor(
    database: Database,
    options: ConsumeOptions,
    queues: string,
    lease: number,
    onClosed: () => void,
  ) {
    super(options, onClosed)
    this.#database = database
    this.#queues = queues
    this.#lease = lease
  }

  protected override get nextClaimMs(): number {
    return this.#nextClaimMs
  }

  protected async claim(room: number, isStopped: () => boolean): Promise<readonly Delivery[]> {
    try {
      while (!isStopped()) {
        if (this.#isUncertain) throw leaseLost(this.options.consumerId)
        if (!this.#skipPoll) {
          const { work, nextMs } = await this.#poll()
          this.#nextClaimMs = nextMs
          if (!work) break
        }
        const deliveries = await this.#claimNow(room, isStopped)
        if (deliveries.length > 0) return deliveries
      }
      return []
    } catch (error) {
      // Jobs may be claimed that this consumer does not know.
      if (errorCode(error) === 'ZYQ_OUTCOME_UNKNOWN') this.#isUncertain = true
      throw this.#database.lost || this.#isUncertain ? leaseLost(this.options.consumerId) : error
    }
  }

  protected sendAcks(settlements: readonly Settlement<Delivery, number>[]): Promise<Settled> {
    return this.#send(
      settlements,
      (delivery) => delivery,
      (sql) => remove(sql, seqsOf(settlements)),
    )
  }

  protected async sendReleases(settlements: readonly Settlement<Release, number>[]): Promise<Settled> {
    const settled = await this.#send(settlements, deliveryOf, (sql) => {
      const now = Date.now()
      makeReady(sql, seqsOf(settlements.filter(({ item }) => item.delayMs <= 0)))
      for (const { item, held: seq } of settlements) {
        if (item.delayMs > 0) delay(sql, seq, now + Math.ceil(item.delayMs))
        if (item.headers) rewrite(sql, seq, { ...item.delivery, headers: item.headers })
      }
    })
    this.#database.wakeFile.wakeFor(settlements.map(({ item }) => item.delayMs))
    return settled
  }

  protected sendRejections(settlements: readonly Settlement<Rejection, number>[]): Promise<Settled> {
    return this.#send(settlements, deliveryOf, (sql) => {
      const now = Date.now()
      for (const { item, held: seq } of settlements) {
        deadLetter(sql, seq, item.delivery.id, item.reason, now)
        if (item.headers) rewrite(sql, seq, { ...item.delivery, headers: item.headers })
      }
    })
  }

  protected async end(): Promise<void> {
    this.#stopListening?.()
    const returned = await this.#database.write((sql) => {
      const inTime = stands(sql, this.#lease)
      return endLease(sql, this.#lease, inTime ? 'uncounted' : 'counted')
    })
    if (returned > 0) this.#database.wakeFile.wake()
  }

  /** Reads without a lock whether there is work, and when there will be some. */
  async #poll(): Promise<NextWork> {
    // Listen first: a hint between the poll and the wait then ends the wait.
    this.#stopListening ??= this.#database.wakeFile.listen(() => this.notify())
    return this.#database.read((sql) => {
      if (!stands(sql, this.#lease)) throw leaseLost(this.options.consumerId)
      return nextWork(sql, this.#queues)
    })
  }

  async #claimNow(room: number, isStopped: () => boolean): Promise<readonly Delivery[]> {
    const claimed = await this.#database.write((sql) => (isStopped() ? undefined : this.#claimRows(sql, room)))
    if (claimed === undefined) return []
    const { rows, lastQueue, returned } = claimed
    if (returned > 0) this.#database.wakeFile.wake()
    this.#lastQueue = lastQueue
    this.#skipPoll = rows.length > 0
    return rows.map((row) => this.#deliver(row))
  }

  /** Part of a write that may run twice, so it changes nothing of the consumer. */
  #claimRows(sql: Sql, room: number): Claimed {
    const returned = endExpired(sql, leaseNow())
    // After `endExpired`: otherwise a lease that has just expired would claim under an id that is gone.
    if (!stands(sql, this.#lease)) throw leaseLost(this.options.consumerId)
    promoteDue(sql, this.#queues, Date.now())
    return { ...this.#claimFairly(sql, room), returned }
  }

  /** An equal share from each queue. What one queue leaves goes to the others. The queue behind the last served comes first. */
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

  #deliver([seqColumn, queue, rank, storedAt, deliveries, message]: ClaimedRow): Delivery {
    const seq = integer(seqColumn)
    const delivery: Delivery = {
      ...readMessage(seq, message),
      queue: this.#database.queueName(integer(queue)),
      priority: 9 - integer(rank),
      deliveryCount: integer(deliveries),
      storedAtMs: integer(storedAt),
    }
    this.unacked.add(delivery, seq)
    return delivery
  }

  /** Ends the hold on these jobs and runs `act`, in one transaction. If the lease has ended, nothing is changed. */
  async #send<Item>(
    settlements: readonly Settlement<Item, number>[],
    deliveryOfItem: (item: Item) => Delivery,
    act: (sql: Sql) => void,
  ): Promise<Settled> {
    if (this.#database.lost) return { status: 'lease-lost' }
    try {
      const stood = await this.#database.write((sql) => {
        if (!stands(sql, this.#lease)) return false
        unhold(sql, this.#lease, seqsOf(settlements))
        act(sql)
        return true
      })
      return { status: stood ? 'ok' : 'lease-lost' }
    } catch (error) {
      // If the commit did succeed, another consumer may hold these jobs now: this one must not settle them again. If it did not,
      // this consumer still holds them, so it ends, and core opens another.
      if (errorCode(error) === 'ZYQ_OUTCOME_UNKNOWN') {
        for (const { item } of settlements) this.unacked.delete(deliveryOfItem(item))
        this.#isUncertain = true
        this.notify()
      }
      throw error
    }
  }
}

function deliveryOf({ delivery }: { readonly delivery: Delivery }): Delivery {
  return delivery
}

function seqsOf(settlements: readonly Settlement<unknown, number>[]): readonly number[] {
  return settlements.map(({ held }) => held)
}

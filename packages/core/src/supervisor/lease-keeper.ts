import { backoffMs, pause, RECONNECT } from '../connection/backoff.ts'
import { connectionTo, type Connection, type ConnectionAddress } from '../connection/connection.ts'
import type { LostDelivery, QueueStats } from '../contract/index.ts'
import type { Logger } from '../logger.ts'
import type { SupervisedConsumer } from './ipc.ts'

/** How long `close` waits for reclaims that do not come through. */
const CLOSE_TIMEOUT_MS = 2_000

/**
 * Renews the leases of the worker processes that live, on connections of its own, so that a handler may block its process
 * for minutes. Ends the leases of processes that have ended, at once.
 */
export class LeaseKeeper {
  readonly #log: Logger
  readonly #connections = new Map<string, Promise<Connection>>()
  readonly #consumers: () => readonly SupervisedConsumer[]
  readonly #reclaims = new Set<Promise<void>>()
  readonly #closing = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #renewing: Promise<unknown> | undefined

  /** `consumers` returns the consumers whose leases must be renewed. */
  constructor(log: Logger, consumers: () => readonly SupervisedConsumer[]) {
    this.#log = log
    this.#consumers = consumers
  }

  /** Begins to renew, three times in each lease. */
  start(leaseMs: number): void {
    this.#timer = setInterval(() => void this.renew(leaseMs), leaseMs / 3)
  }

  /** Renews once more: for consumers that have just begun, whose process may be blocked a moment later. Never rejects. */
  async renew(leaseMs: number): Promise<void> {
    // One that waits for its broker is not overtaken.
    this.#renewing ??= this.#renewAll(leaseMs).finally(() => {
      this.#renewing = undefined
    })
    await this.#renewing
  }

  /** Ends the lease of a consumer whose process is gone. Never rejects: where it fails, the lease ends by itself. */
  reclaim(consumer: SupervisedConsumer, lost: readonly LostDelivery[]): Promise<void> {
    const work = this.#reclaim(consumer, lost).finally(() => this.#reclaims.delete(work))
    this.#reclaims.add(work)
    return work
  }

  /** Whether jobs of processes that are gone may yet come back. */
  get isReclaiming(): boolean {
    return this.#reclaims.size > 0
  }

  /** The figures of the queues that a consumer serves, as far as they can be known; undefined where the broker is away. */
  async queues(consumer: SupervisedConsumer): Promise<readonly QueueStats[] | undefined> {
    if (consumer.address.url === undefined) return []
    try {
      const connection = await this.#connection(consumer.address)
      await connection.open()
      return await connection.broker.admin.queues(consumer.queues)
    } catch (error) {
      this.#log.debug({ err: error }, 'could not look at the queues')
      return undefined
    }
  }

  /** Gives reclaims that are under way a moment, then closes its connections. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    const tooLong = setTimeout(() => void this.#abandon(), CLOSE_TIMEOUT_MS)
    await Promise.all(this.#reclaims)
    clearTimeout(tooLong)
    await this.#abandon()
    await this.#renewing
  }

  /** What is under way settles by this. */
  async #abandon(): Promise<void> {
    this.#closing.abort()
    for (const opening of this.#connections.values()) {
      await opening.then((connection) => connection.close()).catch(() => {})
    }
  }

  async #reclaim(consumer: SupervisedConsumer, lost: readonly LostDelivery[]): Promise<void> {
    if (consumer.address.url === undefined) return
    // What hung on its connection is back already: there is nothing to do but to charge.
    if (!consumer.renewable && lost.length === 0) return
    const since = performance.now()
    for (let tries = 0; ; tries++) {
      try {
        const connection = await this.#connection(consumer.address)
        await connection.open()
        const { leases } = connection.broker
        if (leases.kind === 'message') return
        await leases.reclaim?.(consumer.consumerId, lost).catch((error: unknown) => {
          throw connection.wrap(error)
        })
        return
      } catch (error) {
        if (performance.now() - since > consumer.leaseMs || this.#closing.signal.aborted) {
          this.#log.warn({ err: error }, 'jobs of an ended worker not taken back: they wait for its lease to run out')
          return
        }
        await pause(backoffMs(RECONNECT, tries), this.#closing.signal)
      }
    }
  }

  async #renewAll(leaseMs: number): Promise<void> {
    const groups = new Map<string, SupervisedConsumer[]>()
    for (const consumer of this.#consumers()) {
      if (!consumer.renewable || consumer.address.url === undefined) continue
      const key = JSON.stringify(consumer.address)
      groups.set(key, [...(groups.get(key) ?? []), consumer])
    }
    await Promise.all([...groups.values()].map((group) => this.#renew(group, leaseMs)))
  }

  async #renew(group: readonly SupervisedConsumer[], leaseMs: number): Promise<void> {
    const [first] = group
    if (first === undefined || this.#closing.signal.aborted) return
    try {
      const connection = await this.#connection(first.address)
      await connection.open()
      const ids = group.map(({ consumerId }) => consumerId)
      const { leases } = connection.broker
      if (leases.kind !== 'renewable') return
      await leases.renew(ids, leaseMs).catch((error: unknown) => {
        throw connection.wrap(error)
      })
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#log.warn({ err: error }, 'leases not renewed by the supervisor')
    }
  }

  #connection(address: ConnectionAddress): Promise<Connection> {
    const key = JSON.stringify(address)
    let connection = this.#connections.get(key)
    if (connection === undefined) {
      connection = connectionTo(address)
      this.#connections.set(key, connection)
      connection.catch(() => this.#connections.delete(key))
    }
    return connection
  }
}

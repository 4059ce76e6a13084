import { backoffMs, pause, RECONNECT } from '../connection/backoff.ts'
import { connectionTo, type Connection, type ConnectionAddress } from '../connection/connection.ts'
import type { LostDelivery, QueueStats } from '../contract/index.ts'
import type { Logger } from '../logger.ts'
import type { SupervisedConsumer } from './ipc.ts'

/** How long `close` waits for pending reclaims. */
const CLOSE_TIMEOUT_MS = 2_000

/**
 * Renews the leases of running worker processes on its own connections, so that a handler may block its process for minutes.
 * Ends the leases of ended processes at once.
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

  /** Starts to renew, three times in each lease. */
  start(leaseMs: number): void {
    this.#timer = setInterval(() => void this.renew(leaseMs), leaseMs / 3)
  }

  /** Renews immediately. Must be called for new consumers, because their process may be blocked soon. Never rejects. */
  async renew(leaseMs: number): Promise<void> {
    // Only one renewal runs at a time.
    this.#renewing ??= this.#renewAll(leaseMs).finally(() => {
      this.#renewing = undefined
    })
    await this.#renewing
  }

  /** Ends the lease of a consumer whose process has ended. Never rejects: if it fails, the lease runs out. */
  reclaim(consumer: SupervisedConsumer, lost: readonly LostDelivery[]): Promise<void> {
    const work = this.#reclaim(consumer, lost).finally(() => this.#reclaims.delete(work))
    this.#reclaims.add(work)
    return work
  }

  /** True if jobs of ended processes may still return to their queues. */
  get isReclaiming(): boolean {
    return this.#reclaims.size > 0
  }

  /** The figures of a consumer's queues; undefined if the broker is unavailable. */
  async queues(consumer: SupervisedConsumer): Promise<readonly QueueStats[] | undefined> {
    if (consumer.address.url === undefined) return []
    try {
      const connection = await this.#connection(consumer.address)
      await connection.open()
      return await connection.broker.admin.queues(consumer.queues)
    } catch (error) {
      this.#log.debug({ err: error }, 'cannot read the queues')
      return undefined
    }
  }

  /** Waits up to two seconds for pending reclaims, then closes the connections. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    const tooLong = setTimeout(() => void this.#abandon(), CLOSE_TIMEOUT_MS)
    await Promise.all(this.#reclaims)
    clearTimeout(tooLong)
    await this.#abandon()
    await this.#renewing
  }

  /** Closes the connections. Pending calls settle because of this. */
  async #abandon(): Promise<void> {
    this.#closing.abort()
    for (const opening of this.#connections.values()) {
      await opening.then((connection) => connection.close()).catch(() => {})
    }
  }

  async #reclaim(consumer: SupervisedConsumer, lost: readonly LostDelivery[]): Promise<void> {
    if (consumer.address.url === undefined) return
    // The jobs returned with the connection. Without lost deliveries there is nothing to report.
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
          this.#log.warn(
            { err: error },
            'cannot reclaim the jobs of an ended worker: they return when its lease runs out',
          )
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
      if (!this.#closing.signal.aborted) this.#log.warn({ err: error }, 'cannot renew the leases of the workers')
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

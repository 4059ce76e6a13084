import {
  refuseUnknownOptions,
  type Broker,
  type BrokerCapabilities,
  type ConnectOptions,
  type Consumer,
  type ConsumeOptions,
  type Headers,
  type OutboundMessage,
  type PublishResult,
  type QueueSpec,
  type RenewableLeases,
} from '@zyqueue/core/broker'
import { RedisAdmin } from './admin/admin.ts'
import { RedisConsumer } from './consume/consumer.ts'
import { closedError, errorCode } from './errors.ts'
import type { QueueKeys } from './keys.ts'
import { Leases } from './consume/leases.ts'
import { locationOf, parseDeployment } from './options.ts'
import { MAX_BATCH, MAX_BODY_BYTES, publishBatch } from './publish/publish.ts'
import { Rights } from './connection/rights.ts'
import { declareQueues } from './scripts/lease.ts'
import { Servers } from './connection/servers.ts'

const CAPABILITIES: BrokerCapabilities = Object.freeze({
  durable: true,
  delay: 'native',
  deadLetter: 'native',
  deliveryCount: 'native',
  priorities: 10,
  release: 'native',
  idempotentPublish: true,
  maxBatch: MAX_BATCH,
  maxBodyBytes: MAX_BODY_BYTES,
})
const NO_HEADERS: Headers = Object.freeze({})

/**
 * Does not extend `BrokerBase`: in a cluster and with sentinels, `connect` replaces single connections. The other connections and
 * the consumers that use them stay.
 */
export class RedisBroker implements Broker {
  readonly name = 'redis'
  readonly location: string
  readonly capabilities: BrokerCapabilities = CAPABILITIES
  readonly admin: RedisAdmin
  readonly leases: RenewableLeases
  readonly errorCode = errorCode
  readonly #servers: Servers
  readonly #leases: Leases
  readonly #rights: Rights
  /** Open consumers, by id. */
  readonly #consumers = new Map<string, RedisConsumer>()
  /** The queues of the consumers in the last call of `renew`. */
  readonly #queuesOf = new Map<string, readonly QueueKeys[]>()
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor(options: ConnectOptions) {
    const deployment = parseDeployment(options)
    this.location = locationOf(deployment)
    this.#servers = new Servers(deployment, (channel, waiters) => {
      this.#consumers.get(channel.slice(this.#servers.keys.wake.length))?.wake(waiters)
    })
    this.#leases = new Leases(this.#servers)
    this.#rights = new Rights(this.#servers)
    this.admin = new RedisAdmin(this.#servers, this.#rights)
    this.leases = {
      kind: 'renewable',
      renew: async (consumerIds, leaseMs) => {
        this.#servers.masters()
        for (const id of this.#queuesOf.keys()) if (!consumerIds.includes(id)) this.#queuesOf.delete(id)
        const renewed = await Promise.all(consumerIds.map((id) => this.#renew(id, leaseMs)))
        return consumerIds.filter((_, index) => renewed[index] !== true)
      },
      reclaim: async (consumerId, lost) => {
        this.#servers.masters()
        await this.#leases.reclaim(consumerId, new Map(lost.map(({ id, headers = NO_HEADERS }) => [id, headers])))
      },
    }
  }

  async connect(): Promise<void> {
    if (this.#closing !== undefined) throw closedError()
    this.#rights.forget()
    this.#connecting ??= this.#servers.connect().finally(() => {
      this.#connecting = undefined
    })
    await this.#connecting
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const { options } of queues) refuseUnknownOptions('Redis', options)
    const names = queues.map(({ name }) => name)
    if (names.length === 0) this.#servers.masters()
    else await this.#servers.run(declareQueues, [this.#servers.keys.queues], names)
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    this.#servers.masters()
    await this.#rights.need('producer', () => batch.slice(0, 1).map(({ queue }) => this.#servers.keys.of(queue)))
    return publishBatch(this.#servers, batch)
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    for (const queue of options.queues) refuseUnknownOptions('Redis', queue.options)
    await this.#rights.need('worker', () => options.queues.map(({ name }) => this.#servers.keys.of(name)))
    const { consumerId } = options
    const consumer = await RedisConsumer.open(this.#servers, options, () => {
      if (this.#consumers.get(consumerId) === consumer) this.#consumers.delete(consumerId)
    })
    this.#consumers.set(consumerId, consumer)
    if (this.#closing === undefined) return consumer
    await consumer.close()
    throw closedError()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers.values()].map((consumer) => consumer.close()))
    await this.#servers.close()
    await this.#connecting?.catch(() => {})
  }

  async #renew(consumerId: string, leaseMs: number): Promise<boolean> {
    const queues =
      this.#consumers.get(consumerId)?.queues ??
      this.#queuesOf.get(consumerId) ??
      (await this.#leases.queuesOf(consumerId))
    if (queues === undefined) return false
    const isRenewed = await this.#leases.renew(consumerId, queues, leaseMs)
    if (isRenewed) this.#queuesOf.set(consumerId, queues)
    else this.#queuesOf.delete(consumerId)
    return isRenewed
  }
}

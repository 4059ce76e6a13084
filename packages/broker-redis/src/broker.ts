import type {
  Broker,
  BrokerCapabilities,
  Charge,
  ConnectOptions,
  Consumer,
  ConsumeOptions,
  Headers,
  OutboundMessage,
  PublishResult,
  QueueSpec,
} from '@zyqueue/core/broker'
import { RedisAdmin } from './admin.ts'
import { RedisConsumer } from './consumer.ts'
import { closed, errorCode } from './errors.ts'
import { Keys, type QueueKeys } from './keys.ts'
import { Leases } from './leases.ts'
import { locationOf, parsePlace, refuseOptions } from './options.ts'
import { MAX_BATCH, MAX_BODY_BYTES, publishBatch } from './publish.ts'
import { Rights } from './rights.ts'
import { declareQueues } from './scripts/lease.ts'
import { Servers } from './servers.ts'

const CAPABILITIES: BrokerCapabilities = Object.freeze({
  durable: true,
  delay: 'native',
  lease: 'renewable',
  deadLetter: 'native',
  deliveryCount: 'native',
  priorities: 10,
  release: 'native',
  idempotentPublish: true,
  maxBatch: MAX_BATCH,
  maxBodyBytes: MAX_BODY_BYTES,
})

export class RedisBroker implements Broker {
  readonly name = 'redis'
  readonly location: string
  readonly capabilities: BrokerCapabilities = CAPABILITIES
  readonly admin: RedisAdmin
  readonly #keys: Keys
  readonly #servers: Servers
  readonly #leases: Leases
  readonly #rights: Rights
  /** By their ids. */
  readonly #consumers = new Map<string, RedisConsumer>()
  /** The queues of the consumers whose leases were renewed last. */
  readonly #queuesOf = new Map<string, readonly QueueKeys[]>()
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor(options: ConnectOptions) {
    const place = parsePlace(options)
    this.location = locationOf(place)
    this.#keys = new Keys(place.prefix)
    this.#servers = new Servers(place, (channel, waiters) => {
      this.#consumers.get(channel.slice(this.#keys.wake.length))?.wake(waiters)
    })
    this.#leases = new Leases(this.#servers, this.#keys)
    this.#rights = new Rights(this.#servers, this.#keys)
    this.admin = new RedisAdmin(this.#servers, this.#keys, this.#rights)
  }

  async connect({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted()
    if (this.#closing !== undefined) throw closed()
    this.#rights.forget()
    this.#connecting ??= this.#servers.connect(signal ?? NEVER).finally(() => {
      this.#connecting = undefined
    })
    await this.#connecting
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const { options } of queues) refuseOptions(options)
    const names = queues.map(({ name }) => name)
    if (names.length === 0) this.#servers.masters()
    else await this.#servers.run(declareQueues, [this.#keys.queues], names)
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    this.#servers.masters()
    await this.#rights.need('producer', () => batch.slice(0, 1).map(({ queue }) => this.#keys.of(queue)))
    return publishBatch(this.#servers, this.#keys, batch)
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    for (const queue of options.queues) refuseOptions(queue.options)
    await this.#rights.need('worker', () => options.queues.map(({ name }) => this.#keys.of(name)))
    const { consumerId } = options
    const consumer = await RedisConsumer.open(this.#servers, this.#keys, options, () => {
      if (this.#consumers.get(consumerId) === consumer) this.#consumers.delete(consumerId)
    })
    this.#consumers.set(consumerId, consumer)
    if (this.#closing === undefined) return consumer
    await consumer.close()
    throw closed()
  }

  async renew(consumerIds: readonly string[], leaseMs: number): Promise<readonly string[]> {
    this.#servers.masters()
    for (const id of this.#queuesOf.keys()) if (!consumerIds.includes(id)) this.#queuesOf.delete(id)
    const stand = await Promise.all(consumerIds.map((id) => this.#renew(id, leaseMs)))
    return consumerIds.filter((_, index) => stand[index] !== true)
  }

  async reclaim(consumerId: string, charged: readonly Charge[]): Promise<void> {
    this.#servers.masters()
    await this.#leases.reclaim(consumerId, new Map(charged.map(({ id, headers = NO_HEADERS }) => [id, headers])))
  }

  readonly errorCode = errorCode

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
    const stands = await this.#leases.renew(consumerId, queues, leaseMs)
    if (stands) this.#queuesOf.set(consumerId, queues)
    else this.#queuesOf.delete(consumerId)
    return stands
  }
}

const NO_HEADERS: Headers = Object.freeze({})
const NEVER = new AbortController().signal

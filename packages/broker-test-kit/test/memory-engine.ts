import type { Broker, BrokerAdmin, Calls, Consumer, Delivery, Finding, Leases } from '@zyqueue/core/broker'
import { createMemoryBroker, createMemoryStore } from '@zyqueue/core/testing'
import type { BrokerHarness } from '../src/index.ts'
import { alterBroker, alterAdmin, alterConsumers } from './alter.ts'
import { bytesOf, messageTo, queueSpec } from '../src/test-data.ts'
import { MemoryConnection } from './memory-connection.ts'

/** The header that marks a stored job as an unreadable value. */
const UNREADABLE = 'x-kit-unreadable'
const FINDING: Finding = { level: 'note', message: 'A bad setting of the harness', remedy: 'None' }

type Hooks = Required<
  Omit<BrokerHarness, 'test' | 'leaseMs' | 'timeoutMs' | 'messageTimeoutMs' | 'delayedAfterRestartMs'>
>

/** Handles a batch with unreadable deliveries. Returns the deliveries that the consumer delivers. */
export type OnUnreadable = (
  consumer: Consumer,
  unreadable: readonly Delivery[],
  others: readonly Delivery[],
) => Promise<readonly Delivery[]>

/**
 * A server in memory with all hooks of a harness: brokers use connections that can be lost, and stored jobs survive a restart.
 */
export class MemoryEngine {
  readonly hooks: Hooks

  /** The number of restarts. */
  restarted = 0
  onUnreadable: OnUnreadable = async (consumer, unreadable, others) => {
    await consumer.reject(
      unreadable.map((delivery) => ({ delivery, reason: 'ZYQ_DECODE: it is not a job', headers: {} })),
    )
    return others
  }
  readonly #store = createMemoryStore()
  readonly #connections = new Map<Broker, MemoryConnection>()
  readonly #lease: 'connection' | 'renewable'
  readonly #alter: (broker: Broker, engine: MemoryEngine, connection: MemoryConnection) => Broker

  /** `alter` changes each new broker. */
  constructor(
    alter: (broker: Broker, engine: MemoryEngine, connection: MemoryConnection) => Broker = (broker) => broker,
    lease: 'connection' | 'renewable' = 'renewable',
  ) {
    this.#alter = alter
    this.#lease = lease
    this.hooks = {
      createBroker: () => this.#create(),
      killConnection: (broker) => this.#connections.get(broker)?.cut(),
      // A server in memory cannot stall, so the connection is lost at once.
      stallConnection: (broker) => this.#connections.get(broker)?.cut(),
      healConnection: (broker) => this.#connections.get(broker)?.heal(),
      loseAnswer: async (broker) => this.#connections.get(broker)?.loseAnswer(),
      openConnections: (broker) => this.#connections.get(broker)?.connections ?? 0,
      restart: async () => this.#restart(),
      storeUnreadable: (queue) => this.#storeUnreadable(queue),

      sample: this.#create(),
      brokerWithFinding: () => this.#create(alterAdmin(createMemoryBroker(), { check: async () => [FINDING] })),
      report: () => undefined,
    }
  }

  #create(memory: Broker = createMemoryBroker(this.#store)): Broker {
    const connection = new MemoryConnection()
    const broker = this.#alter(this.#behindConnection(memory, connection), this, connection)
    this.#connections.set(broker, connection)
    return broker
  }

  #restart(): void {
    this.restarted += 1
    for (const connection of this.#connections.values()) connection.lose()
  }

  async #storeUnreadable(queue: string): Promise<Uint8Array> {
    const body = bytesOf('job\n[]')
    const broker = createMemoryBroker(this.#store)
    await broker.connect()
    await broker.publish([messageTo(queueSpec(queue), { body, headers: { [UNREADABLE]: '' } })])
    return body
  }

  #behindConnection(memory: Broker, connection: MemoryConnection): Broker {
    const byConnection = this.#lease === 'connection'
    const { deliveryCount } = memory.capabilities
    const through = alterBroker(memory, {
      capabilities: Object.freeze({
        ...memory.capabilities,
        durable: true,
        deliveryCount: byConnection ? 'none' : deliveryCount,
      }),
      leases: byConnection ? { kind: 'connection' } : leasesBehind(memory.leases, connection),
      ...(memory.calls && { calls: callsBehind(memory.calls, connection) }),
      admin: adminBehind(memory.admin, connection),
      async connect() {
        await memory.connect()
        connection.connect()
      },
      declare: (queues) => connection.run(() => memory.declare(queues)),
      publish: (batch) =>
        connection.run(
          () => memory.publish(batch),
          (error) => batch.map(() => ({ status: 'unknown', error })),
        ),
      consume: (options) => connection.run(() => memory.consume(options)),
      async close() {
        connection.close()
        await memory.close()
      },
    })
    return alterConsumers(through, (consumer) => {
      if (byConnection) connection.onLost(() => consumer.close())
      return {
        receive: (max, { signal }) => connection.run((lost) => this.#receive(consumer, max, signal, lost)),
        ack: (deliveries) => connection.run(() => consumer.ack(deliveries)),
        release: (releases) => connection.run(() => consumer.release(releases)),
        reject: (rejections) => connection.run(() => consumer.reject(rejections)),
      }
    })
  }

  async #receive(
    consumer: Consumer,
    max: number,
    signal: AbortSignal,
    lost: AbortSignal,
  ): Promise<readonly Delivery[]> {
    const stop = new AbortController()
    const abort = (): void => stop.abort()
    for (const each of [signal, lost]) each.addEventListener('abort', abort)
    if (signal.aborted) abort()
    try {
      for (;;) {
        const deliveries = await consumer.receive(max, { signal: stop.signal })
        const unreadable = deliveries.filter(({ headers }) => headers[UNREADABLE] !== undefined)
        if (unreadable.length === 0) return deliveries
        const others = deliveries.filter((delivery) => !unreadable.includes(delivery))
        const delivered = await this.onUnreadable(consumer, unreadable, others)
        if (delivered.length > 0) return delivered
      }
    } finally {
      for (const each of [signal, lost]) each.removeEventListener('abort', abort)
    }
  }
}

function leasesBehind(leases: Leases, connection: MemoryConnection): Leases {
  if (leases.kind !== 'renewable') return leases
  return {
    kind: 'renewable',
    renew: (ids, leaseMs) => connection.run(() => leases.renew(ids, leaseMs)),
    reclaim: (id, lost) => connection.run(() => leases.reclaim(id, lost)),
  }
}

function callsBehind(calls: Calls, connection: MemoryConnection): Calls {
  return {
    call: (message, options) => calls.call(message, options),
    answer: (answers) => connection.run(() => calls.answer(answers)),
    sendUpdate: (delivery, update) => calls.sendUpdate(delivery, update),
  }
}

function adminBehind(admin: BrokerAdmin, connection: MemoryConnection): BrokerAdmin {
  const { deadLetters } = admin
  return {
    queues: (names) => connection.run(() => admin.queues(names)),
    workers: () => connection.run(async () => (await admin.workers?.()) ?? []),
    purge: (queue) => connection.run(() => admin.purge(queue)),
    jobs: (queue, options) => connection.run(async () => (await admin.jobs?.(queue, options)) ?? []),
    cancel: (queue, ids) => connection.run(async () => (await admin.cancel?.(queue, ids)) ?? 0),
    promote: (queue, ids) => connection.run(async () => (await admin.promote?.(queue, ids)) ?? 0),
    check: () => connection.run(() => admin.check()),
    version: () => connection.run(() => admin.version()),
    deadLetters: {
      list: (queue, options) => connection.run(() => deadLetters.list(queue, options)),
      requeue: (queue, ids) => connection.run(() => deadLetters.requeue(queue, ids)),
      purge: (queue, ids) => connection.run(() => deadLetters.purge(queue, ids)),
    },
  }
}

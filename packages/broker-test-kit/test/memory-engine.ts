import type { Broker, BrokerAdmin, Calls, Consumer, Delivery, Finding, Leases } from '@zyqueue/core/broker'
import { createMemoryBroker, createMemoryStore } from '@zyqueue/core/testing'
import type { BrokerHarness } from '../src/index.ts'
import { altered, alteredAdmin, alteredConsumers } from './altered.ts'
import { bytesOf, messageTo, queueSpec } from '../src/stage.ts'
import { Wire } from './wire.ts'

/** The header of a stored job that stands for a value that cannot be read. */
const UNREADABLE = 'x-kit-unreadable'
const FINDING: Finding = { level: 'note', message: 'A setting that the harness knows of', remedy: 'None' }

type Hooks = Required<
  Omit<BrokerHarness, 'test' | 'leaseMs' | 'timeoutMs' | 'messageTimeoutMs' | 'delayedAfterRestartMs'>
>

/** What a consumer does with the deliveries among which are some that it cannot read; gives those that are delivered. */
export type OnUnreadable = (
  consumer: Consumer,
  unreadable: readonly Delivery[],
  others: readonly Delivery[],
) => Promise<readonly Delivery[]>

/**
 * A server in memory, with all that the hooks of a harness do to one: brokers reach it by connections, which can be lost, and
 * what it stores outlives a restart.
 */
export class MemoryEngine {
  readonly hooks: Hooks

  /** How often it was started again. */
  restarted = 0
  onUnreadable: OnUnreadable = async (consumer, unreadable, others) => {
    await consumer.reject(
      unreadable.map((delivery) => ({ delivery, reason: 'ZYQ_DECODE: it is not a job', headers: {} })),
    )
    return others
  }
  readonly #store = createMemoryStore()
  readonly #wires = new Map<Broker, Wire>()
  readonly #lease: 'connection' | 'renewable'
  readonly #alter: (broker: Broker, engine: MemoryEngine, wire: Wire) => Broker

  /** `alter` changes each broker that is made. */
  constructor(
    alter: (broker: Broker, engine: MemoryEngine, wire: Wire) => Broker = (broker) => broker,
    lease: 'connection' | 'renewable' = 'renewable',
  ) {
    this.#alter = alter
    this.#lease = lease
    this.hooks = {
      createBroker: () => this.#create(),
      killConnection: (broker) => this.#wires.get(broker)?.cut(),
      // A server in memory does not fall silent: it is lost at once.
      stallConnection: (broker) => this.#wires.get(broker)?.cut(),
      healConnection: (broker) => this.#wires.get(broker)?.heal(),
      loseAnswer: async (broker) => this.#wires.get(broker)?.loseAnswer(),
      openConnections: (broker) => this.#wires.get(broker)?.connections ?? 0,
      restart: async () => this.#restart(),
      storeUnreadable: (queue) => this.#storeUnreadable(queue),

      sample: this.#create(),
      brokerWithFinding: () => this.#create(alteredAdmin(createMemoryBroker(), { check: async () => [FINDING] })),
      report: () => undefined,
    }
  }

  #create(memory: Broker = createMemoryBroker(this.#store)): Broker {
    const wire = new Wire()
    const broker = this.#alter(this.#behindWire(memory, wire), this, wire)
    this.#wires.set(broker, wire)
    return broker
  }

  #restart(): void {
    this.restarted += 1
    for (const wire of this.#wires.values()) wire.lose()
  }

  async #storeUnreadable(queue: string): Promise<Uint8Array> {
    const body = bytesOf('job\n[]')
    const broker = createMemoryBroker(this.#store)
    await broker.connect()
    await broker.publish([messageTo(queueSpec(queue), { body, headers: { [UNREADABLE]: '' } })])
    return body
  }

  #behindWire(memory: Broker, wire: Wire): Broker {
    const byConnection = this.#lease === 'connection'
    const { deliveryCount } = memory.capabilities
    const through = altered(memory, {
      capabilities: Object.freeze({
        ...memory.capabilities,
        durable: true,
        deliveryCount: byConnection ? 'none' : deliveryCount,
      }),
      leases: byConnection ? { kind: 'connection' } : leasesBehind(memory.leases, wire),
      ...(memory.calls && { calls: callsBehind(memory.calls, wire) }),
      admin: adminBehind(memory.admin, wire),
      async connect() {
        await memory.connect()
        wire.connect()
      },
      declare: (queues) => wire.run(() => memory.declare(queues)),
      publish: (batch) =>
        wire.run(
          () => memory.publish(batch),
          (error) => batch.map(() => ({ status: 'unknown', error })),
        ),
      consume: (options) => wire.run(() => memory.consume(options)),
      async close() {
        wire.close()
        await memory.close()
      },
    })
    return alteredConsumers(through, (consumer) => {
      if (byConnection) wire.onLost(() => consumer.close())
      return {
        receive: (max, { signal }) => wire.run((lost) => this.#receive(consumer, max, signal, lost)),
        ack: (deliveries) => wire.run(() => consumer.ack(deliveries)),
        release: (releases) => wire.run(() => consumer.release(releases)),
        reject: (rejections) => wire.run(() => consumer.reject(rejections)),
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

function leasesBehind(leases: Leases, wire: Wire): Leases {
  if (leases.kind !== 'renewable') return leases
  return {
    kind: 'renewable',
    renew: (ids, leaseMs) => wire.run(() => leases.renew(ids, leaseMs)),
    reclaim: (id, lost) => wire.run(() => leases.reclaim(id, lost)),
  }
}

function callsBehind(calls: Calls, wire: Wire): Calls {
  return {
    call: (message, options) => calls.call(message, options),
    answer: (answers) => wire.run(() => calls.answer(answers)),
    sendUpdate: (delivery, update) => calls.sendUpdate(delivery, update),
  }
}

function adminBehind(admin: BrokerAdmin, wire: Wire): BrokerAdmin {
  const { deadLetters } = admin
  return {
    queues: () => wire.run(() => admin.queues()),
    workers: () => wire.run(async () => (await admin.workers?.()) ?? []),
    purge: (queue) => wire.run(() => admin.purge(queue)),
    jobs: (queue, options) => wire.run(async () => (await admin.jobs?.(queue, options)) ?? []),
    cancel: (queue, ids) => wire.run(async () => (await admin.cancel?.(queue, ids)) ?? 0),
    check: () => wire.run(() => admin.check()),
    version: () => wire.run(() => admin.version()),
    deadLetters: {
      list: (queue, options) => wire.run(() => deadLetters.list(queue, options)),
      requeue: (queue, ids) => wire.run(() => deadLetters.requeue(queue, ids)),
      purge: (queue, ids) => wire.run(() => deadLetters.purge(queue, ids)),
    },
  }
}

import type { Broker, Delivery, RenewableLeases } from '@zyqueue/core/broker'
import { createMemoryBroker, createMemoryStore } from '@zyqueue/core/testing'
import { describe, expect, test } from 'vitest'
import { brokerTests, type BrokerHarness } from '../src/index.ts'
import { alterBroker, alterConsumers, alterLeases } from './alter.ts'

const messageTimeoutMs = 400

/** An engine with a timeout for each message. The adapter extends the timeouts of unsettled messages while its process lives. */
class MessageTimeouts {
  readonly #store = createMemoryStore()
  readonly #timers = new Map<Broker, Set<NodeJS.Timeout>>()
  readonly #alter: (broker: Broker) => Broker

  constructor(alter: (broker: Broker) => Broker = (broker) => broker) {
    this.#alter = alter
  }

  harness(run: BrokerHarness['test']): BrokerHarness {
    return {
      test: run,
      createBroker: () => this.#create(),
      sample: this.#create(),
      killConnection: (broker) => this.#stop(broker),
      report: () => undefined,
      messageTimeoutMs,
      timeoutMs: 5000,
    }
  }

  #create(): Broker {
    const memory = this.#alter(createMemoryBroker(this.#store))
    const timers = new Set<NodeJS.Timeout>()
    const broker = alterBroker(memory, {
      leases: { kind: 'message', timeoutMs: messageTimeoutMs },
      async consume(options) {
        const consumer = await memory.consume({ ...options, leaseMs: messageTimeoutMs })
        const extend = (): void =>
          void renewableOf(memory)
            .renew([options.consumerId], messageTimeoutMs)
            .catch(() => undefined)
        timers.add(setInterval(extend, messageTimeoutMs / 4).unref())
        return consumer
      },
      close: async () => {
        this.#stop(broker)
        await memory.close()
      },
    })
    this.#timers.set(broker, timers)
    return broker
  }

  #stop(broker: Broker): void {
    for (const timer of this.#timers.get(broker) ?? []) clearInterval(timer)
  }
}

function renewableOf({ leases }: Broker): RenewableLeases {
  return leases.kind === 'renewable' ? leases : expect.fail('the memory broker must have renewable leases')
}

function suiteOf(engine: MessageTimeouts): ReadonlyMap<string, () => Promise<void>> {
  const suite = new Map<string, () => Promise<void>>()
  brokerTests(engine.harness((name, body) => suite.set(name, body)))
  return suite
}

/** A broker that blocks the process during a delivery for longer than the message timeout, so that it loses the messages. */
function blockProcess(broker: Broker, isDue: () => boolean): Broker {
  return alterConsumers(broker, (consumer, { consumerId }) => ({
    async receive(max, options) {
      const deliveries = await consumer.receive(max, options)
      if (deliveries.length === 0 || !isDue()) return deliveries
      const until = performance.now() + messageTimeoutMs
      while (performance.now() < until);
      await renewableOf(broker).reclaim(consumerId, [])
      return deliveries
    },
  }))
}

const kept = 'leases: an owner keeps all its jobs while its lease is renewed'

describe('a broker that extends its message timeouts passes', () => {
  for (const [name, body] of suiteOf(new MessageTimeouts())) {
    if (/^(leases|delivery counts|settle|concurrency|interrupted moves|summary): /.test(name)) test(name, body)
  }
})

test('a test that fails after the process was blocked runs again', async () => {
  let times = 0
  const engine = new MessageTimeouts((broker) => blockProcess(broker, () => ++times === 1))
  await suiteOf(engine).get('settle: ack ends a job')?.()
  expect(times).toBeGreaterThan(2)
})

test('a test that fails twice does not pass', async () => {
  const engine = new MessageTimeouts((broker) => blockProcess(broker, () => true))
  await expect(suiteOf(engine).get('settle: ack ends a job')?.()).rejects.toThrow(
    /ack\(\): result 0 of 1, of the job .* is lease-lost/,
  )
})

test('the suite catches a broker that extends only its first message', async () => {
  const others: Delivery[] = []
  const extendsTheFirst = new MessageTimeouts((broker) => {
    const releasing: (() => Promise<unknown>)[] = []
    const consuming = alterConsumers(broker, (consumer) => {
      releasing.push(() => consumer.release(others.splice(0).map((delivery) => ({ delivery, delayMs: 0 }))))
      return {
        async receive(max, options) {
          const deliveries = await consumer.receive(max, options)
          others.push(...deliveries.slice(1))
          return deliveries
        },
      }
    })
    return alterLeases(consuming, (leases) => ({
      async renew(ids, leaseMs) {
        for (const release of releasing) await release()
        return leases.renew(ids, leaseMs)
      },
    }))
  })
  await expect(suiteOf(extendsTheFirst).get(kept)?.()).rejects.toThrow(/./)
})

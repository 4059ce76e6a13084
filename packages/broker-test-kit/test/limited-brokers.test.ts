import type { Broker, BrokerCapabilities, Delivery } from '@zyqueue/core/broker'
import { describe, expect, test } from 'vitest'
import { brokerTests, type BrokerHarness } from '../src/index.ts'
import { altered, alteredConsumers, alteredDeliveries } from './altered.ts'
import { MemoryEngine } from './memory-engine.ts'

/** All that a broker may honestly be unable to do. */
const limits = {
  delay: 'none',
  lease: 'connection',
  deadLetter: 'none',
  deliveryCount: 'none',
  priorities: 3,
  release: 'republish',
  idempotentPublish: false,
  call: 'none',
} satisfies Partial<BrokerCapabilities>

/** Three levels: 0–3, 4–6, 7–9. */
function levelOf(priority: number): number {
  return priority < 4 ? 1 : priority < 7 ? 5 : 8
}

function seen(delivery: Delivery): Delivery {
  return { ...delivery, id: delivery.id.replace(/~\d+~.*$/, ''), deliveryCount: 0 }
}

function limited(broker: Broker): Broker {
  let published = 0
  const withConsumers = alteredConsumers(alteredDeliveries(broker, seen), (consumer) => ({
    async release(releases) {
      if (releases.some(({ delayMs }) => delayMs > 0)) throw new Error('no delays')
      return consumer.release(releases)
    },
    reject: (rejections) => consumer.ack(rejections.map(({ delivery }) => delivery)),
  }))
  const { workers: _workers, jobs: _jobs, cancel: _cancel, ...admin } = broker.admin
  const inAll = altered(withConsumers, {
    admin,
    capabilities: Object.freeze({ ...broker.capabilities, ...limits }),
    async publish(batch) {
      const storable = batch.filter(({ delayMs }) => delayMs === 0)
      const results = await broker.publish(
        storable.map((message) => ({
          ...message,
          id: `${message.id}~${++published}~${Math.random()}`,
          priority: levelOf(message.priority),
        })),
      )
      const refused = { status: 'refused', error: new Error('no delays') } as const
      return batch.map((message) => results[storable.indexOf(message)] ?? refused)
    },
    consume: (options) => withConsumers.consume({ ...options, leaseMs: 600_000 }),
  })
  delete inAll.renew
  delete inAll.reclaim
  delete inAll.call
  return inAll
}

/** Binds the suite to limited brokers of one engine, which claim what is given. */
function harness(run: BrokerHarness['test'], claim: Partial<BrokerCapabilities> = {}): BrokerHarness {
  const engine = new MemoryEngine((memory) => {
    const honest = limited(memory)
    return { ...honest, capabilities: Object.freeze({ ...honest.capabilities, ...claim }) }
  }, 'connection')
  return { test: run, ...engine.hooks, patienceMs: 5000 }
}

describe('a broker that can do little, and says so, passes', () => {
  brokerTests(harness(test))
})

/** Says that it can do what it cannot, or does what it says that it cannot. */
const lies: Readonly<Record<string, { readonly claim: Partial<BrokerCapabilities>; readonly caughtBy: string }>> = {
  delays: { claim: { delay: 'native' }, caughtBy: 'delays: a delay of thirty days is kept' },
  'dead letters': {
    claim: { deadLetter: 'native' },
    caughtBy: 'dead letters: a rejected job is kept with its reason, and delivered no more',
  },
  'delivery counts': {
    claim: { deliveryCount: 'native' },
    caughtBy: 'delivery counts: each owner that is lost counts, and is counted once',
  },
  'more priorities': {
    claim: { priorities: 10 },
    caughtBy: 'priorities: the higher priority arrives first, within one level the earlier',
  },
  'fewer priorities': {
    claim: { priorities: 2 },
    caughtBy: 'priorities: the higher priority arrives first, within one level the earlier',
  },
  'renewable leases': {
    claim: { lease: 'renewable' },
    caughtBy: 'lifecycle: the capabilities are frozen and agree with each other',
  },
  calls: { claim: { call: 'native' }, caughtBy: 'calls: an ack answers nothing, which is an answer' },
  'idempotent publishes': {
    claim: { idempotentPublish: true },
    caughtBy: 'publish: an id that was stored already is stored once, where publish is idempotent',
  },
}

describe('the suite catches', () => {
  for (const [lie, { claim, caughtBy }] of Object.entries(lies)) {
    test(`a lie about ${lie}`, async () => {
      const suite = new Map<string, () => Promise<void>>()
      brokerTests(harness((name, body) => suite.set(name, body), claim))
      expect(suite.has(caughtBy)).toBe(true)
      await expect(suite.get(caughtBy)?.()).rejects.toThrow(/./)
    })
  }
})

test('a broker whose lease is its connection does not pass without a way to cut it', async () => {
  const suite = new Map<string, () => Promise<void>>()
  const { killConnection: _, ...without } = harness((name, body) => suite.set(name, body))
  brokerTests(without)
  await expect(suite.get('leases: a late ack is fenced: the new owner keeps the job')?.()).rejects.toThrow(
    /killConnection/,
  )
})

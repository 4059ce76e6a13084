import { randomUUID } from 'node:crypto'
import type { Broker, BrokerCapabilities, Delivery, OutboundMessage } from '@zyqueue/core/broker'
import { describe, expect, test } from 'vitest'
import { brokerTests, type BrokerHarness } from '../src/index.ts'
import { alterBroker, alterConsumers, alterDeliveries } from './alter.ts'
import { MemoryEngine } from './memory-engine.ts'

/** Capabilities of a broker that lacks every optional feature. */
const limits = {
  delay: 'none',
  deadLetter: 'none',
  deliveryCount: 'none',
  priorities: 3,
  release: 'republish',
  idempotentPublish: false,
} satisfies Partial<BrokerCapabilities>

/** The priority that stands for a level. There are three levels: 0–3, 4–6 and 7–9. */
function levelOf(priority: number): number {
  return priority < 4 ? 1 : priority < 7 ? 5 : 8
}

/** The ids that messages were published with, by the ids that they are stored with. */
const publishedIds = new Map<string, string>()

function hideWhatIsMissing(delivery: Delivery): Delivery {
  return { ...delivery, id: publishedIds.get(delivery.id) ?? delivery.id, deliveryCount: 0 }
}

/** A message under a new id, so that its id is no longer recognized. */
function withNewId(message: OutboundMessage): OutboundMessage {
  const id = randomUUID()
  publishedIds.set(id, message.id)
  return { ...message, id, priority: levelOf(message.priority) }
}

/** A broker without delays, dead letters, delivery counts, idempotent publishes, lists and calls. */
function limit(broker: Broker): Broker {
  const withConsumers = alterConsumers(alterDeliveries(broker, hideWhatIsMissing), (consumer) => ({
    async release(releases) {
      if (releases.some(({ delayMs }) => delayMs > 0)) throw new Error('no delays')
      return consumer.release(releases)
    },
    reject: (rejections) => consumer.ack(rejections.map(({ delivery }) => delivery)),
  }))
  const { workers: _workers, jobs: _jobs, cancel: _cancel, promote: _promote, ...admin } = broker.admin
  const inAll = alterBroker(withConsumers, {
    admin,
    capabilities: Object.freeze({ ...broker.capabilities, ...limits }),
    async publish(batch) {
      const storable = batch.filter(({ delayMs }) => delayMs === 0)
      const results = await broker.publish(storable.map(withNewId))
      const refused = { status: 'refused', error: new Error('no delays') } as const
      return batch.map((message) => results[storable.indexOf(message)] ?? refused)
    },
    consume: (options) => withConsumers.consume({ ...options, leaseMs: 600_000 }),
  })
  const { calls: _calls, ...withoutCalls } = inAll
  return { ...withoutCalls, leases: { kind: 'connection' } }
}

/** Breaks a limited broker. `memory` is the memory broker behind it. */
type Breaks = (limitedBroker: Broker, memory: Broker) => Broker

/** A harness of limited brokers of one engine that claim these capabilities. */
function harness(
  run: BrokerHarness['test'],
  {
    claim,
    breaks = (broker) => broker,
  }: { readonly claim?: Partial<BrokerCapabilities>; readonly breaks?: Breaks } = {},
): BrokerHarness {
  const engine = new MemoryEngine((memory) => {
    const broker = breaks(limit(memory), memory)
    return { ...broker, capabilities: Object.freeze({ ...broker.capabilities, ...claim }) }
  }, 'connection')
  return { test: run, ...engine.hooks, timeoutMs: 5000 }
}

describe('a broker that lacks features and says so passes', () => {
  brokerTests(harness(test))
})

interface FalseClaim {
  readonly claim?: Partial<BrokerCapabilities>
  readonly breaks?: Breaks
  readonly caughtBy: string
}

/** Brokers that claim a capability that they lack. */
const overclaims: Readonly<Record<string, FalseClaim>> = {
  'has delays': { claim: { delay: 'native' }, caughtBy: 'delays: a job delayed by thirty days does not arrive early' },
  'has dead letters': {
    claim: { deadLetter: 'native' },
    caughtBy: 'dead letters: a rejected job is kept with its reason and not delivered again',
  },
  'has delivery counts': {
    claim: { deliveryCount: 'native' },
    caughtBy: 'delivery counts: each lost owner counts once',
  },
  'has more priorities': {
    claim: { priorities: 10 },
    caughtBy: 'priorities: higher priorities arrive first, and earlier jobs first within a level',
  },
  'has fewer priorities': {
    claim: { priorities: 2 },
    caughtBy: 'priorities: higher priorities arrive first, and earlier jobs first within a level',
  },
  'counts deliveries by itself': {
    claim: { deliveryCount: 'emulated' },
    caughtBy: 'lifecycle: capabilities are frozen and consistent',
  },
  'has idempotent publishes': {
    claim: { idempotentPublish: true },
    caughtBy: 'publish: a message with the id of a stored message is not stored again',
  },
}

/** Brokers that do not refuse a feature that they lack, or do less than every broker must. */
const underclaims: Readonly<Record<string, FalseClaim>> = {
  'has no delays, and accepts delayed messages': {
    breaks: (broker, memory) => alterBroker(broker, { publish: (batch) => memory.publish(batch) }),
    caughtBy: 'delays: a delayed message is refused and not stored (this broker has no delays)',
  },
  'has no delays, and accepts releases with a delay': {
    breaks: (broker) =>
      alterConsumers(broker, (consumer) => ({
        release: (all) => consumer.release(all.map((one) => ({ ...one, delayMs: 0 }))),
      })),
    caughtBy: 'release: a release with a delay is refused and settles nothing (this broker has no delays)',
  },
  'has no dead letters, and keeps some': {
    breaks: (broker) =>
      alterBroker(broker, {
        admin: { ...broker.admin, deadLetters: { ...broker.admin.deadLetters, requeue: async () => 1 } },
      }),
    caughtBy:
      'dead letters: a rejected job is deleted and cannot be listed, requeued or purged (this broker has no dead letters)',
  },
  'has no delivery counts, and counts': {
    breaks: (broker) => alterDeliveries(broker, (delivery) => ({ ...delivery, deliveryCount: 1 })),
    caughtBy:
      'delivery counts: the job of a lost owner arrives again with delivery count 0 (this broker has no delivery counts)',
  },
  'has no native release, and loses released jobs': {
    breaks: (broker) =>
      alterConsumers(broker, (consumer) => ({
        release: (all) => consumer.ack(all.map(({ delivery }) => delivery)),
      })),
    caughtBy: 'release: a released job stays in its queue, at any place (this broker has no native release)',
  },
  'has no idempotent publish, and stores nothing': {
    breaks: (broker) =>
      alterBroker(broker, {
        publish: async (batch) =>
          broker
            .publish(batch.filter(({ priority }) => priority !== 4))
            .then(() => batch.map(() => ({ status: 'stored' }))),
      }),
    caughtBy:
      'publish: a message with the id of a stored message is reported as stored (this broker has no idempotent publish)',
  },
}

describe.concurrent('the suite catches a broker that claims that it', () => {
  for (const [claim, { caughtBy, ...options }] of Object.entries({ ...overclaims, ...underclaims })) {
    test(claim, async () => {
      const suite = new Map<string, () => Promise<void>>()
      brokerTests(harness((name, body) => suite.set(name, body), options))
      expect(suite.has(caughtBy)).toBe(true)
      await expect(suite.get(caughtBy)?.()).rejects.toThrow(/./)
    })
  }
})

test('the name of each test of a missing feature says so, and the test catches a fault', () => {
  const ofAbsent: string[] = []
  const note = (name: string): unknown => name.includes('(this broker has no ') && ofAbsent.push(name)
  brokerTests(harness(note, { claim: { priorities: 1 } }))
  const caught = Object.values(underclaims).map(({ caughtBy }) => caughtBy)
  expect(ofAbsent.toSorted()).toEqual(caught.toSorted())
})

test('the last test reports how many tests passed and which were left out', async () => {
  const suite = new Map<string, () => Promise<void>>()
  const lines: string[] = []
  const { loseAnswer: _, ...bound } = harness((name, body) => suite.set(name, body))
  brokerTests({ ...bound, report: (line) => lines.push(line) })
  for (const name of [
    'publish: an empty batch returns no results',
    'calls: never there',
    [...suite.keys()].at(-1) ?? '',
  ]) {
    await suite.get(name)?.()
  }
  expect(lines).toEqual([
    expect.stringMatching(
      /^memory: 1 of \d+ conformance tests passed, 6 of them for missing features; left out because the broker has no .*calls \(7\).*; left out because the harness has no .*loseAnswer \(3\)/,
    ),
  ])
})

test('a broker with connection leases does not pass without killConnection', async () => {
  const suite = new Map<string, () => Promise<void>>()
  const { killConnection: _, ...without } = harness((name, body) => suite.set(name, body))
  brokerTests(without)
  await expect(
    suite.get('leases: an ack after the lease was lost does not take the job from the new owner')?.(),
  ).rejects.toThrow(/killConnection/)
})

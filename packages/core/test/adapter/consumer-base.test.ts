import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ConsumerBase, type Settled, type Settlement } from '../../src/adapter/consumer-base.ts'
import type { SettleResult } from '../../src/contract/consumer.ts'
import type { Delivery } from '../../src/contract/message.ts'
import { gate, until } from '../support.ts'
import { deliveryOf } from './deliveries.ts'

const OK: SettleResult = { status: 'ok' }
const NEVER = new AbortController().signal

/** An engine in memory, and its consumer. Answers come after `turns` microtasks. */
class EngineConsumer extends ConsumerBase<string> {
  readonly ready: string[] = []
  readonly done: string[] = []
  /** The items of each call that settles. */
  readonly sent: string[][] = []
  turns = 1
  /** Answers the next settlements, instead of `ok`. */
  answer: ((size: number) => Settled) | undefined
  /** Settlements of these jobs have no answer. */
  unanswered: readonly string[] = []
  answering: Promise<void> = Promise.resolve()
  claims = 0
  claimError: Error | undefined
  endError: Error | undefined
  isEnded = false
  onClosedCalls = 0

  constructor(prefetch: number) {
    super(
      {
        queues: [{ name: 'q', options: {} }],
        prefetch,
        leaseMs: 60_000,
        consumerId: 'c',
        client: { name: 'test', host: 'localhost', pid: 1 },
      },
      () => this.onClosedCalls++,
    )
  }

  put(...ids: readonly string[]): void {
    this.ready.push(...ids)
    this.notify()
  }

  get held(): readonly string[] {
    return [...this.unacked].map(([{ id }]) => id)
  }

  protected override async claim(room: number): Promise<readonly Delivery[]> {
    this.claims++
    await this.#wait()
    if (this.claimError !== undefined) throw this.claimError
    const deliveries = this.ready.splice(0, room).map((id) => deliveryOf(id))
    for (const delivery of deliveries) this.unacked.add(delivery, delivery.id)
    return deliveries
  }

  protected override sendAcks(settlements: readonly Settlement<unknown, string>[]): Promise<Settled> {
    return this.#send(settlements, (ids) => this.done.push(...ids))
  }

  protected override sendReleases(settlements: readonly Settlement<unknown, string>[]): Promise<Settled> {
    return this.#send(settlements, (ids) => this.ready.push(...ids))
  }

  protected override sendRejections(settlements: readonly Settlement<unknown, string>[]): Promise<Settled> {
    return this.#send(settlements, (ids) => this.done.push(...ids))
  }

  protected override async end(): Promise<void> {
    this.isEnded = true
    if (this.endError !== undefined) throw this.endError
    this.ready.push(...this.held)
  }

  protected override settlementKey(held: string): unknown {
    return held.split('/')[1]
  }

  async #send(
    settlements: readonly Settlement<unknown, string>[],
    apply: (ids: readonly string[]) => void,
  ): Promise<Settled> {
    const ids = settlements.map(({ held }) => held)
    this.sent.push(ids)
    await this.#wait()
    await this.answering
    const { answer } = this
    if (answer !== undefined) return answer(ids.length)
    if (ids.some((id) => this.unanswered.includes(id))) return { status: 'unknown', error: 'no answer' }
    apply(ids)
    return OK
  }

  async #wait(): Promise<void> {
    for (let turns = 0; turns < this.turns; turns++) await Promise.resolve()
  }
}

const idsOf = (deliveries: readonly Delivery[]): readonly string[] => deliveries.map(({ id }) => id)

describe('receive', () => {
  test('resolves to the jobs that are there, at most max and at most the prefetch', async () => {
    const consumer = new EngineConsumer(3)
    consumer.put('a', 'b', 'c', 'd')
    expect(idsOf(await consumer.receive(2, { signal: NEVER }))).toEqual(['a', 'b'])
    expect(idsOf(await consumer.receive(2, { signal: NEVER }))).toEqual(['c'])
  })

  test('resolves when a job comes, and to none after about a second without one', async () => {
    const consumer = new EngineConsumer(1)
    const receiving = consumer.receive(1, { signal: NEVER })
    await turn()
    consumer.put('a')
    const deliveries = await receiving
    expect(idsOf(deliveries)).toEqual(['a'])
    await consumer.ack(deliveries)
    expect(await consumer.receive(1, { signal: NEVER })).toEqual([])
  })

  test('waits for room while the prefetch is full, also for the answer of a settlement', async () => {
    const consumer = new EngineConsumer(1)
    consumer.put('a', 'b')
    const deliveries = await consumer.receive(1, { signal: NEVER })
    const { opened, open } = gate()
    consumer.answering = opened
    const acking = consumer.ack(deliveries)
    const receiving = consumer.receive(1, { signal: NEVER })
    await turn()
    expect(consumer.claims).toBe(1)
    open()
    await acking
    expect(idsOf(await receiving)).toEqual(['b'])
  })

  test('an aborted call resolves to none at once, and one that begins aborted claims nothing', async () => {
    const consumer = new EngineConsumer(1)
    const controller = new AbortController()
    const receiving = consumer.receive(1, { signal: controller.signal })
    await turn()
    controller.abort()
    expect(await receiving).toEqual([])
    const { claims } = consumer
    expect(await consumer.receive(1, { signal: controller.signal })).toEqual([])
    expect(consumer.claims).toBe(claims)
  })

  test('the error of a claim rejects the call, and the next one claims again', async () => {
    const consumer = new EngineConsumer(1)
    consumer.claimError = new Error('gone')
    await expect(consumer.receive(1, { signal: NEVER })).rejects.toThrow('gone')
    consumer.claimError = undefined
    consumer.put('a')
    expect(idsOf(await consumer.receive(1, { signal: NEVER }))).toEqual(['a'])
  })

  test('jobs of an aborted call whose release has no answer are released by the next call first', async () => {
    const consumer = new EngineConsumer(2)
    consumer.answer = () => ({ status: 'unknown', error: new Error('no answer') })
    const controller = new AbortController()
    consumer.put('a')
    consumer.turns = 10
    const aborted = consumer.receive(1, { signal: controller.signal })
    while (consumer.claims === 0) await Promise.resolve()
    controller.abort()
    expect(await aborted).toEqual([])
    await until('the first release', () => consumer.sent.length === 1)
    await expect(consumer.receive(1, { signal: NEVER })).rejects.toThrow('no answer')
    consumer.answer = undefined
    expect(idsOf(await consumer.receive(1, { signal: NEVER }))).toEqual(['a'])
    expect(consumer.sent).toEqual([['a'], ['a'], ['a']])
  })
})

describe('settlements', () => {
  async function consumerWith(...ids: readonly string[]): Promise<{
    readonly consumer: EngineConsumer
    readonly deliveries: readonly Delivery[]
  }> {
    const consumer = new EngineConsumer(10)
    consumer.put(...ids)
    return { consumer, deliveries: await consumer.receive(10, { signal: NEVER }) }
  }

  test('one result answers for all, or one for each, in order', async () => {
    const { consumer, deliveries } = await consumerWith('a', 'b', 'c')
    consumer.answer = () => [OK, { status: 'lease-lost' }, { status: 'unknown', error: 'no answer' }]
    expect(await consumer.ack(deliveries)).toEqual([
      OK,
      { status: 'lease-lost' },
      { status: 'unknown', error: 'no answer' },
    ])
    expect(consumer.held).toEqual(['c'])
    consumer.answer = undefined
    expect(await consumer.ack(deliveries)).toEqual([{ status: 'lease-lost' }, { status: 'lease-lost' }, OK])
  })

  test('a missing result is unknown, and so is each delivery of a call that rejects', async () => {
    const { consumer, deliveries } = await consumerWith('a', 'b')
    consumer.answer = () => [OK]
    expect(await consumer.ack(deliveries)).toMatchObject([OK, { status: 'unknown', error: { code: 'ZYQ_BROKER' } }])
    consumer.answer = () => {
      throw new Error('cut')
    }
    expect(await consumer.ack(deliveries)).toMatchObject([
      { status: 'lease-lost' },
      { status: 'unknown', error: { message: 'cut' } },
    ])
    expect(consumer.held).toEqual(['b'])
  })

  test('a delivery is settled once: twice in a call, in two calls, or by another object', async () => {
    const { consumer, deliveries } = await consumerWith('a')
    const twice = [...deliveries, ...deliveries]
    const [first, second] = await Promise.all([
      consumer.ack(twice),
      consumer.reject(deliveries.map((delivery) => ({ delivery, reason: 'ZYQ_TEST' }))),
    ])
    expect(first).toEqual([OK, { status: 'lease-lost' }])
    expect(second).toEqual([{ status: 'lease-lost' }])
    expect(await consumer.release([{ delivery: deliveryOf('a'), delayMs: 0 }])).toEqual([{ status: 'lease-lost' }])
    expect(consumer.done).toEqual(['a'])
  })

  test('deliveries with different keys are sent in separate calls, and results keep their order', async () => {
    const { consumer, deliveries } = await consumerWith('a/1', 'b/2', 'c/1')
    consumer.answer = (size) => (size === 2 ? [OK, { status: 'lease-lost' }] : { status: 'returned', error: 'full' })
    expect(await consumer.ack(deliveries)).toEqual([
      OK,
      { status: 'returned', error: 'full' },
      { status: 'lease-lost' },
    ])
    expect(consumer.sent).toEqual([['a/1', 'c/1'], ['b/2']])
  })

  test('no delivery is no call', async () => {
    const { consumer } = await consumerWith('a')
    expect(await consumer.ack([])).toEqual([])
    expect(consumer.sent).toEqual([])
  })
})

describe('close', () => {
  test('ends a pending receive, waits for settlements, then ends once', async () => {
    const consumer = new EngineConsumer(2)
    consumer.put('a')
    const deliveries = await consumer.receive(1, { signal: NEVER })
    const { opened, open } = gate()
    consumer.answering = opened
    const acking = consumer.ack(deliveries)
    const receiving = consumer.receive(1, { signal: NEVER })
    const closing = Promise.all([consumer.close(), consumer.close()])
    expect(await receiving).toEqual([])
    await turn()
    expect(consumer.isEnded).toBe(false)
    open()
    expect(await acking).toEqual([OK])
    await closing
    expect(consumer).toMatchObject({ isEnded: true, onClosedCalls: 1, ready: [], done: ['a'] })
    const closed = { code: 'ZYQ_CLOSED' }
    await expect(consumer.receive(1, { signal: NEVER })).rejects.toMatchObject(closed)
    await expect(consumer.ack(deliveries)).rejects.toMatchObject(closed)
  })

  test('resolves although the engine cannot be told', async () => {
    const consumer = new EngineConsumer(1)
    consumer.put('a')
    await consumer.receive(1, { signal: NEVER })
    consumer.endError = new Error('gone')
    await consumer.close()
    expect(consumer).toMatchObject({ held: [], onClosedCalls: 1 })
  })
})

test('no sequence of calls loses or doubles a job, or exceeds the prefetch', async () => {
  const step = fc.oneof(
    fc.record({ call: fc.constant('put' as const), count: fc.integer({ min: 1, max: 4 }) }),
    fc.record({
      call: fc.constant('receive' as const),
      max: fc.integer({ min: 1, max: 4 }),
      turns: fc.nat(6),
      abortAfter: fc.nat(25),
    }),
    fc.record({
      call: fc.constantFrom('ack' as const, 'release' as const, 'reject' as const),
      count: fc.integer({ min: 1, max: 4 }),
      fails: fc.boolean(),
    }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 5 }), async (steps, prefetch) => {
      const consumer = new EngineConsumer(prefetch)
      const ids: string[] = []
      const inCore: Delivery[] = []
      for (const next of steps) {
        if (next.call === 'put') {
          for (let each = 0; each < next.count; each++) ids.push(`job ${ids.length}`)
          consumer.put(...ids.slice(-next.count))
        } else if (next.call === 'receive') {
          consumer.turns = next.turns
          const controller = new AbortController()
          const receiving = consumer.receive(next.max, { signal: controller.signal })
          for (let turns = 0; turns < next.abortAfter; turns++) await Promise.resolve()
          controller.abort()
          const deliveries = await receiving
          expect(deliveries.length).toBeLessThanOrEqual(next.max)
          inCore.push(...deliveries)
          expect(inCore.length).toBeLessThanOrEqual(prefetch)
        } else {
          const { call, count, fails } = next
          const chosen = inCore.splice(0, count)
          if (fails) consumer.unanswered = idsOf(chosen)
          const results = await (call === 'ack'
            ? consumer.ack(chosen)
            : call === 'release'
              ? consumer.release(chosen.map((delivery) => ({ delivery, delayMs: 0 })))
              : consumer.reject(chosen.map((delivery) => ({ delivery, reason: 'ZYQ_TEST' }))))
          expect(results.map(({ status }) => status)).toEqual(chosen.map(() => (fails ? 'unknown' : 'ok')))
          if (fails) inCore.push(...chosen)
          consumer.unanswered = []
        }
        // While a release is pending, its job may be both held and ready again.
        expect(new Set([...consumer.ready, ...consumer.done, ...consumer.held])).toEqual(new Set(ids))
      }
      // Now the jobs of aborted calls have gone back.
      await turn()
      expect(consumer.held.toSorted()).toEqual(idsOf(inCore).toSorted())
      await consumer.close()
      expect([...consumer.ready, ...consumer.done].toSorted()).toEqual(ids.toSorted())
    }),
  )
})

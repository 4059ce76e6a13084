import { expect, onTestFinished, test } from 'vitest'
import type { Consumer, Delivery, SettleResult } from '../../src/contract/index.ts'
import { BrokerError } from '../../src/errors.ts'
import { ACK, GIVE_BACK } from '../../src/worker/outcome.ts'
import { Settler } from '../../src/worker/settler.ts'
import { connectionTo, gate, recordingLogger, scripted, until } from '../support.ts'

const lost = () => new BrokerError('ZYQ_CONNECTION_LOST', 'cut')
const ok = (items: readonly unknown[]): SettleResult[] => items.map(() => ({ status: 'ok' }))

function delivery(id: string): Delivery {
  return { id, queue: 'q', body: Buffer.from('1'), headers: {}, priority: 4, deliveryCount: 0 }
}

function setUp(script: Partial<Consumer>, options: { leaseMs?: number; lease?: 'connection' | 'renewable' } = {}) {
  const connection = connectionTo(scripted(options.lease === 'connection' ? { lease: 'connection' } : {}))
  onTestFinished(() => connection.close())
  const logger = recordingLogger()
  let left = 0
  let gaveUp = false
  const settler = new Settler({
    connection,
    consumer: {
      receive: async () => [],
      ack: async (items) => ok(items),
      release: async (items) => ok(items),
      reject: async (items) => ok(items),
      close: async () => {},
      ...script,
    },
    leaseMs: options.leaseMs ?? 10_000,
    log: logger,
    onSettled: (count) => (left += count),
    onUnsettled: () => (gaveUp = true),
  })
  return { settler, logger, left: () => left, gaveUp: () => gaveUp }
}

test('batches the outcomes of one turn, with one pending call of each kind', async () => {
  const calls: number[] = []
  const let1 = gate()
  let underway = 0
  const { settler, left } = setUp({
    ack: async (items) => {
      expect(++underway).toBe(1)
      calls.push(items.length)
      await let1.opened
      underway--
      return ok(items)
    },
  })
  for (let index = 0; index < 5; index++) settler.settle(delivery(`a${index}`), ACK)
  await until('the first call', () => calls.length === 1)
  for (let index = 0; index < 7; index++) settler.settle(delivery(`b${index}`), ACK)
  let1.open()
  await settler.flush()
  expect(calls).toEqual([5, 7])
  expect(left()).toBe(12)
  await settler.flush()
})

test.each([[[4]], [[0]], [[0, 7]], [[0, 4, 5]]])(
  'items that the adapter cannot write (%j) are left alone: the others are settled',
  async (bad) => {
    const released: string[] = []
    const { settler, logger, left } = setUp(
      {
        release: async (items) => {
          if (items.some(({ headers }) => headers?.['bad'] !== undefined)) throw new TypeError('cannot be written')
          released.push(...items.map((item) => item.delivery.id))
          return ok(items)
        },
      },
      { lease: 'connection' },
    )
    for (let index = 0; index < 9; index++) {
      const headers = bad.includes(index) ? { bad: 'yes' } : {}
      settler.settle(delivery(String(index)), { kind: 'release', delayMs: 1, headers })
    }
    await settler.flush()
    const others = [0, 1, 2, 3, 4, 5, 6, 7, 8].filter((index) => !bad.includes(index))
    expect(released.toSorted()).toEqual(others.map(String))
    expect(logger.lines).toMatchObject([{ fields: { jobs: bad.length, err: { code: 'ZYQ_BROKER' } } }])
    expect(left()).toBe(9)
  },
)

test('a full broker is asked again for longer than the lease if the connection holds the jobs, and acks go on', async () => {
  let isFull = true
  let tries = 0
  const acked: string[] = []
  const { settler, gaveUp, left } = setUp(
    {
      ack: async (items) => (acked.push(...items.map(({ id }) => id)), ok(items)),
      release: async (items) => {
        tries++
        return isFull
          ? items.map(() => ({ status: 'unknown', error: new BrokerError('ZYQ_BROKER_FULL', 'full') }))
          : ok(items)
      },
    },
    { lease: 'connection', leaseMs: 0 },
  )
  settler.settle(delivery('released'), GIVE_BACK)
  await until('two tries', () => tries === 2)
  settler.settle(delivery('acked'), ACK)
  await until('the ack', () => acked.length === 1)
  isFull = false
  await settler.flush()
  expect(left()).toBe(2)
  expect(gaveUp()).toBe(false)
})

test('if the broker refuses everything, items are not sent one by one, and all are retried', async () => {
  const calls: number[] = []
  const { settler, left } = setUp({
    ack: async (items) => {
      calls.push(items.length)
      if (calls.length <= 8) throw new TypeError('disk I/O error')
      return ok(items)
    },
  })
  for (let index = 0; index < 500; index++) settler.settle(delivery(String(index)), ACK)
  await settler.flush()
  expect(calls).toEqual([500, 1, 1, 1, 500, 1, 1, 1, 500])
  expect(left()).toBe(500)
})

test('each outcome uses its call', async () => {
  const calls: unknown[] = []
  const { settler } = setUp({
    release: async (items) => (calls.push(items), ok(items)),
    reject: async (items) => (calls.push(items), ok(items)),
  })
  const [a, b, c] = [delivery('a'), delivery('b'), delivery('c')]
  settler.settle(a, GIVE_BACK)
  settler.settle(b, { kind: 'release', delayMs: 50, headers: { x: '1' } })
  settler.settle(c, { kind: 'reject', end: 'dead', reason: 'ZYQ_JOB_FAILED: no', headers: {} })
  await settler.flush()
  expect(calls).toEqual([
    [
      { delivery: a, delayMs: 0 },
      { delivery: b, delayMs: 50, headers: { x: '1' } },
    ],
    [{ delivery: c, reason: 'ZYQ_JOB_FAILED: no', headers: {} }],
  ])
})

test('retries unknown results only', async () => {
  const calls: string[][] = []
  const { settler, left, logger } = setUp({
    ack: async (items) => {
      calls.push(items.map(({ id }) => id))
      if (calls.length === 1) throw lost()
      return items.map(({ id }) =>
        id === 'b' && calls.length < 4 ? { status: 'unknown', error: lost() } : { status: 'ok' },
      )
    },
  })
  for (const id of ['a', 'b', 'c']) settler.settle(delivery(id), ACK)
  await settler.flush()
  expect(calls).toEqual([['a', 'b', 'c'], ['a', 'b', 'c'], ['b'], ['b']])
  expect(left()).toBe(3)
  expect(logger.lines).toEqual([])
})

test('stops retrying when the lease must have ended', async () => {
  const { settler, left, logger } = setUp({ ack: () => Promise.reject(lost()) }, { leaseMs: 20 })
  settler.settle(delivery('a'), ACK)
  await settler.flush()
  expect(left()).toBe(1)
  expect(logger.lines).toMatchObject([{ level: 'warn', message: expect.stringMatching(/failed/) }])
})

test('does not retry if the jobs returned with their connection or consumer', async () => {
  for (const [lease, error] of [
    ['connection', lost()],
    ['renewable', new BrokerError('ZYQ_CLOSED', 'closed')],
  ] as const) {
    let calls = 0
    const { settler, left } = setUp({ ack: () => (calls++, Promise.reject(error)) }, { lease })
    settler.settle(delivery('a'), ACK)
    await settler.flush()
    expect([calls, left()]).toEqual([1, 1])
  }
})

test('returned jobs count as settled and are logged once', async () => {
  const error = new BrokerError('ZYQ_BODY_TOO_LARGE', 'no')
  let calls = 0
  const { settler, gaveUp, left, logger } = setUp({
    release: async (items) => {
      calls++
      return items.map((_, index) => (index === 0 ? { status: 'ok' } : { status: 'returned', error }))
    },
  })
  for (const id of ['a', 'b', 'c']) settler.settle(delivery(id), GIVE_BACK)
  await settler.flush()
  expect({ calls, left: left(), gaveUp: gaveUp() }).toEqual({ calls: 1, left: 3, gaveUp: false })
  expect(logger.lines).toMatchObject([{ level: 'warn', fields: { jobs: 2, err: error } }])
})

test('reports that the consumer may hold unsettled jobs', async () => {
  const tooLarge = new BrokerError('ZYQ_BODY_TOO_LARGE', 'no')
  for (const [lease, error, expected] of [
    ['connection', tooLarge, true],
    ['connection', lost(), false],
    ['renewable', lost(), true],
    ['renewable', new BrokerError('ZYQ_CLOSED', 'closed'), false],
  ] as const) {
    const { settler, gaveUp } = setUp(
      { release: async (items) => items.map(() => ({ status: 'unknown', error })) },
      { lease, leaseMs: 20 },
    )
    settler.settle(delivery('a'), GIVE_BACK)
    await settler.flush()
    expect({ lease, code: error.code, gaveUp: gaveUp() }).toEqual({ lease, code: error.code, gaveUp: expected })
  }
})

test('a lost lease is only logged', async () => {
  const { settler, left, logger } = setUp({ ack: async (items) => items.map(() => ({ status: 'lease-lost' })) })
  settler.settle(delivery('a'), ACK)
  settler.settle(delivery('b'), ACK)
  await settler.flush()
  expect(left()).toBe(2)
  expect(logger.lines).toMatchObject([
    { level: 'warn', fields: { jobs: 2 }, message: expect.stringMatching(/too late/) },
  ])
})

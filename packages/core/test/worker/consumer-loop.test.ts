import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { BrokerError } from '../../src/errors.ts'
import { producers } from '../../src/producer/producers.ts'
import { createMemoryBroker } from '../../src/testing/index.ts'
import { Worker } from '../../src/worker/worker.ts'
import { gate, scripted, until } from '../support.ts'
import { setUp, taskOn } from './set-up.ts'

afterEach(() => producers.close())

test('a consumer is replaced if its receive never answers and ignores its signal', async () => {
  const ran = vi.fn()
  const { task, worker, broker, logger } = setUp({}, ran, { stallMs: 1_000 })
  let stuck = true
  broker.script.receive = (real, ...call) => {
    if (!stuck) return real.receive(...call)
    stuck = false
    return new Promise(() => {})
  }
  await worker.start()
  await until('it is logged', () => logger.lines.some(({ message }) => /does not answer/.test(message)))
  await task.submit(1)
  await until('it runs', () => ran.mock.calls.length === 1)
  // One for the producer, and two for the worker.
  expect(broker.made()).toBe(3)
})

test('a consumer that receives nothing while jobs wait is replaced, and its loop does not block the process', async () => {
  const ran = vi.fn()
  const { task, worker, broker, logger } = setUp({}, ran, { stallMs: 1_000 })
  let calls = 0
  broker.script.consume = async (real, options) => {
    const consumer = await real.consume(options)
    if (broker.made() === 2) broker.script.receive = async () => (calls++, [])
    else delete broker.script.receive
    return consumer
  }
  await task.submit(1)
  await worker.start()
  await until('it runs', () => ran.mock.calls.length === 1)
  expect(calls).toBeLessThan(200)
  expect(logger.lines).toContainEqual(
    expect.objectContaining({ level: 'warn', message: expect.stringMatching(/receives none/) }),
  )
})

test('a worker without a free slot does not count as stalled', async () => {
  const release = gate()
  const { task, worker, broker } = setUp({}, () => release.opened, { stallMs: 20, concurrency: 10, prefetch: 1 })
  await task.submit([1, 2], { batch: true })
  await worker.start()
  await until('one runs', () => worker.status.running === 1)
  const queues = vi.spyOn(broker.store, 'queues')
  // Ten times `stallMs`.
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(queues).not.toHaveBeenCalled()
  expect(broker.made()).toBe(2)
  release.open()
  await until('both are done', () => worker.status.done === 2)
})

test.each([
  ['a connection that is lost comes back', 'ZYQ_CONNECTION_LOST', /connection lost/],
  ['a broker that is busy is asked again', 'ZYQ_BROKER_BUSY', /broker is busy/],
] as const)('%s, and the consumer keeps its unsettled jobs', async (_, code, expected) => {
  const ran = vi.fn()
  const release = gate()
  const { task, worker, broker, logger } = setUp({}, async ({ data, attempt }) => {
    ran(data, attempt)
    if (data === 0) await release.opened
  })
  await task.submit(0)
  await worker.start()
  await until('one is unsettled', () => ran.mock.calls.length === 1)
  let losses = 0
  broker.script.receive = (real, ...call) =>
    losses++ < 3 ? Promise.reject(new BrokerError(code, 'for the test')) : real.receive(...call)
  const consume = vi.fn((real, options) => real.consume(options))
  broker.script.consume = consume
  await task.submit(1)
  await until('the next runs', () => ran.mock.calls.length === 2)
  await task.submit(2)
  await until('a third job runs', () => ran.mock.calls.length === 3)
  release.open()
  await until('all are done', () => worker.status.done === 3)
  expect(consume).not.toHaveBeenCalled()
  expect(ran.mock.calls).toEqual([
    [0, 1],
    [1, 1],
    [2, 1],
  ])
  expect(logger.lines.filter(({ message }) => expected.test(message))).toHaveLength(1)
})

test('if the lease belongs to the connection, a new consumer follows a lost connection', async () => {
  const ran = vi.fn()
  const consume = vi.fn((real, options) => real.consume(options))
  const { task, worker, broker } = setUp({ lease: 'connection', consume }, ran)
  await worker.start()
  let losses = 0
  broker.script.receive = (real, ...call) =>
    losses++ < 1 ? Promise.reject(new BrokerError('ZYQ_CONNECTION_LOST', 'cut')) : real.receive(...call)
  await task.submit([1, 2], { batch: true })
  await until(
    'both have run, and there is a new consumer',
    () => ran.mock.calls.length >= 2 && consume.mock.calls.length === 2,
  )
})

test('if all held jobs count a lost delivery, a job near its limit is held alone', async () => {
  const held: Record<string, number | undefined> = {}
  const consumed: number[] = []
  const { broker, task, worker, stats } = setUp(
    {
      lease: 'connection',
      consume: (real, options) => {
        consumed.push(options.prefetch)
        return real.consume(options)
      },
    },
    ({ data }) => (held[String(data)] = stats().active),
    { concurrency: 4, task: { maxDeliveries: 2 } },
  )
  await task.submit([1, 2, 3], { batch: true })
  const lostBroker = createMemoryBroker(broker.store)
  await lostBroker.connect()
  const client = { name: 'lost-worker', host: 'here', pid: 1 }
  const queues = [task.queueSpec]
  const consumer = await lostBroker.consume({ queues, prefetch: 3, leaseMs: 60_000, consumerId: 'lost-worker', client })
  const lost = await consumer.receive(3, { signal: new AbortController().signal })
  if (lostBroker.leases.kind !== 'renewable') expect.fail('the memory broker renews')
  await lostBroker.leases.reclaim('lost-worker', lost.slice(0, 2))
  await worker.start()
  await until('the jobs have run', () => '3' in held)
  await task.submit([4, 5], { batch: true })
  await until('all have run', () => '5' in held)
  expect(held).toMatchObject({ 1: 1, 2: 1 })
  // One by one for a while, then in batches again.
  await until('batches', async () => {
    await task.submit(6)
    return consumed.length >= 3 && consumed.at(-1) === consumed[0]
  })
  expect(consumed.slice(0, 2)).toEqual([expect.not.closeTo(1), 1])
})

test.each([
  ['all held jobs count a lost delivery', { lease: 'connection' }],
  ['the supervisor names the jobs that ran', {}],
] as const)('after the death of a process, if %s', async (_, script) => {
  const consumed: number[] = []
  const broker = scripted({
    ...script,
    consume: (real, options) => {
      consumed.push(options.prefetch)
      return real.consume(options)
    },
  })
  const task = taskOn(broker, vi.fn())
  const ledger = { begin: vi.fn(), end: vi.fn(), flush: vi.fn(), start: vi.fn() }
  const supervision = {
    ledger,
    afterDeath: true,
    isOrphan: () => false,
    waitsForBroker: true,
    onSessions: vi.fn(),
    onFinishing: vi.fn(),
  }
  const worker = new Worker({ tasks: [task] }, supervision)
  onTestFinished(() => worker.close())
  await worker.start()
  if (!('lease' in script)) return expect(consumed).toEqual([expect.not.closeTo(1)])
  // Idle or not, after a while.
  await until('batches', () => consumed.length === 2)
  // The job that killed the last process is received alone.
  expect(consumed).toEqual([1, expect.not.closeTo(1)])
})

test('a job whose settlement the broker refuses is delivered again, although the connection is open', async () => {
  const refused = new BrokerError('ZYQ_BODY_TOO_LARGE', 'its headers are too large')
  let acks = 0
  const { task, worker, stats } = setUp(
    {
      lease: 'connection',
      ack: (real, items) =>
        acks++ === 0 ? Promise.resolve(items.map(() => ({ status: 'unknown', error: refused }))) : real.ack(items),
    },
    () => {},
  )
  await worker.start()
  await task.submit(1)
  await until('it is done', () => acks === 2 && stats().active === 0)
  expect(worker.status.done).toBe(2)
  expect(stats()).toMatchObject({ ready: 0, dead: 0 })
})

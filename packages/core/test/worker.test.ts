import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { BrokerError } from '../src/errors.ts'
import { Retry } from '../src/middleware/signals.ts'
import { producers } from '../src/producer/producers.ts'
import type { TaskOptions } from '../src/tasks/options.ts'
import { Task } from '../src/tasks/task.ts'
import { createMemoryBroker } from '../src/testing/index.ts'
import type { Job } from '../src/worker/job.ts'
import type { WorkerOptions } from '../src/worker/options.ts'
import { createWorker, Worker } from '../src/worker/worker.ts'
import { gate, recordingLogger, scripted, uniqueName, until, type Script, type ScriptedBroker } from './support.ts'

afterEach(() => producers.close())

function taskOn(broker: ScriptedBroker, run: (job: Job) => unknown, options: TaskOptions = {}) {
  return new Task<number>(uniqueName(), { ...options, server: broker }, { run: (_worker, job) => run(job) })
}

function workerOn(options: WorkerOptions) {
  const worker = createWorker(options)
  onTestFinished(() => worker.close())
  return worker
}

function setUp(script: Script, run: (job: Job) => unknown, options: WorkerOptions & { task?: TaskOptions } = {}) {
  const broker = scripted(script)
  const { task: taskOptions, ...workerOptions } = options
  const task = taskOn(broker, run, taskOptions)
  const logger = recordingLogger()
  const worker = workerOn({ tasks: [task], logger, ...workerOptions })
  const stats = () => broker.store.queue(task.name).stats()
  return { broker, task, worker, logger, stats }
}

test('runs jobs, in their order where one runs at a time', async () => {
  const ran: unknown[] = []
  const { task, worker, stats } = setUp({}, ({ data }) => ran.push(data), { concurrency: 1 })
  await task.submit([1, 2, 3])
  await worker.start()
  await task.submit(4)
  await until('all have run', () => ran.length === 4)
  await worker.drain()
  expect(ran).toEqual([1, 2, 3, 4])
  expect(stats()).toMatchObject({ ready: 0, active: 0, workers: 0 })
  expect(worker.status).toEqual({ state: 'closed', done: 4, running: 0, waiting: 0 })
  await worker.ended
})

test('no more run at once than concurrency says, and as many', async () => {
  let running = 0
  let most = 0
  const let1 = gate()
  const { task, worker } = setUp(
    {},
    async () => {
      most = Math.max(most, ++running)
      await let1.opened
      running--
    },
    { concurrency: 3, prefetch: 20 },
  )
  await task.submit(Array.from({ length: 12 }, (_, index) => index))
  await worker.start()
  await until('three run', () => running === 3)
  let1.open()
  await until('all are done', () => worker.status.done === 12)
  expect(most).toBe(3)
})

test('drain ends with the last running job, not with the grace period', async () => {
  const let1 = gate()
  const { task, worker, stats } = setUp({}, () => let1.opened, { concurrency: 2, prefetch: 10, graceMs: 1_000_000 })
  await task.submit(Array.from({ length: 8 }, (_, index) => index))
  await worker.start()
  await until('two run', () => worker.status.running === 2)
  const draining = worker.drain()
  await until('the rest is given back', () => stats().ready === 6)
  expect(worker.status.state).toBe('draining')
  let1.open()
  await draining
  expect(stats()).toMatchObject({ ready: 6, active: 0 })
  expect(worker.status.done).toBe(2)
})

test('what has not ended within the grace period is aborted and given back, uncharged', async () => {
  const signals: AbortSignal[] = []
  const { task, worker, broker, stats } = setUp(
    {},
    (job) => {
      signals.push(job.signal)
      return new Promise(() => {})
    },
    { graceMs: 10 },
  )
  await task.submit(1)
  await worker.start()
  await until('it runs', () => signals.length === 1)
  await worker.drain()
  expect(signals[0]?.aborted).toBe(true)
  expect(signals[0]?.reason).toMatchObject({ code: 'ZYQ_CLOSED' })
  expect(stats()).toMatchObject({ ready: 1, active: 0 })
  expect(broker.store.queue(task.name).take()).toMatchObject({ deliveryCount: 0, headers: {} })
})

test('close gives back all at once, also in the middle of a drain', async () => {
  for (const drainFirst of [false, true]) {
    const { task, worker, stats } = setUp({}, () => new Promise(() => {}), {
      concurrency: 2,
      prefetch: 4,
      graceMs: 1_000_000,
    })
    await task.submit([1, 2, 3, 4, 5])
    await worker.start()
    await until('two run', () => worker.status.running === 2)
    const draining = drainFirst ? worker.drain() : undefined
    await worker.close()
    await draining
    expect(stats()).toMatchObject({ ready: 5, active: 0, workers: 0 })
  }
})

test('runs exactly maxJobs, each to its end, and gives the rest to others', async () => {
  const ran: number[] = []
  const let1 = gate()
  const { task, worker, stats } = setUp(
    {},
    async ({ data }) => {
      ran.push(Number(data))
      await let1.opened
    },
    { concurrency: 4, prefetch: 40, maxJobs: 6, graceMs: 0 },
  )
  await task.submit(Array.from({ length: 50 }, (_, index) => index))
  await worker.start()
  await until('four run', () => ran.length === 4)
  let1.open()
  await worker.ended
  expect(ran).toHaveLength(6)
  expect(worker.status.done).toBe(6)
  expect(stats()).toMatchObject({ ready: 44, active: 0 })
})

test('the last of maxJobs has all the time it needs, though the worker takes nothing more', async () => {
  const let1 = gate()
  const { task, worker, stats } = setUp({}, () => let1.opened, { maxJobs: 1, graceMs: 0, prefetch: 5 })
  await task.submit([1, 2, 3])
  await worker.start()
  await until('the others are given back', () => worker.status.running === 1 && stats().ready === 2)
  expect(worker.status.state).toBe('running')
  let1.open()
  await worker.ended
  expect(stats()).toMatchObject({ ready: 2, active: 0 })
})

test('a consumer whose receive never answers is replaced, signal or no signal', async () => {
  const ran = vi.fn()
  const { task, worker, broker, logger } = setUp({}, ran, { stallMs: 1_000 })
  let stuck = true
  broker.script.receive = (real, ...call) => {
    if (!stuck) return real.receive(...call)
    stuck = false
    return new Promise(() => {})
  }
  await worker.start()
  await until('it is told', () => logger.lines.some(({ message }) => /does not answer/.test(message)))
  await task.submit(1)
  await until('it runs', () => ran.mock.calls.length === 1)
  // One for the producer, and two for the worker.
  expect(broker.made()).toBe(3)
})

test('a consumer that takes none while work waits is replaced, and does not starve the process', async () => {
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
    expect.objectContaining({ level: 'warn', message: expect.stringMatching(/takes none/) }),
  )
})

test('a worker that has its hands full is not taken for a stalled one', async () => {
  const let1 = gate()
  const { task, worker, broker } = setUp({}, () => let1.opened, { stallMs: 20, concurrency: 10, prefetch: 1 })
  await task.submit([1, 2])
  await worker.start()
  await until('one runs', () => worker.status.running === 1)
  const looks = vi.spyOn(broker.store, 'queues')
  // Ten times as long as would make it suspicious.
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(looks).not.toHaveBeenCalled()
  expect(broker.made()).toBe(2)
  let1.open()
  await until('both are done', () => worker.status.done === 2)
})

test.each([
  ['a connection that is lost comes back', 'ZYQ_CONNECTION_LOST', /connection lost/],
  ['a broker that is busy is asked again', 'ZYQ_BROKER_BUSY', /broker is busy/],
] as const)('%s, and the consumer lives on with what it has unsettled', async (_, code, told) => {
  const ran = vi.fn()
  const let1 = gate()
  const { task, worker, broker, logger } = setUp({}, async ({ data, attempt }) => {
    ran(data, attempt)
    if (data === 0) await let1.opened
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
  await until('and another', () => ran.mock.calls.length === 3)
  let1.open()
  await until('all are done', () => worker.status.done === 3)
  expect(consume).not.toHaveBeenCalled()
  expect(ran.mock.calls).toEqual([
    [0, 1],
    [1, 1],
    [2, 1],
  ])
  expect(logger.lines.filter(({ message }) => told.test(message))).toHaveLength(1)
})

test('where the lease is the connection’s, a lost connection means a new consumer', async () => {
  const ran = vi.fn()
  const consume = vi.fn((real, options) => real.consume(options))
  const { task, worker, broker } = setUp({ lease: 'connection', consume }, ran)
  await worker.start()
  let losses = 0
  broker.script.receive = (real, ...call) =>
    losses++ < 1 ? Promise.reject(new BrokerError('ZYQ_CONNECTION_LOST', 'cut')) : real.receive(...call)
  await task.submit([1, 2])
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
  await task.submit([1, 2, 3])
  const mortal = createMemoryBroker(broker.store)
  await mortal.connect()
  const client = { name: 'mortal', host: 'here', pid: 1 }
  const queues = [task.queueSpec]
  const consumer = await mortal.consume({ queues, prefetch: 3, leaseMs: 60_000, consumerId: 'mortal', client })
  const lost = await consumer.receive(3, { signal: new AbortController().signal })
  if (mortal.leases.kind !== 'renewable') expect.fail('the memory broker renews')
  await mortal.leases.reclaim('mortal', lost.slice(0, 2))
  await worker.start()
  await until('the jobs have run', () => '3' in held)
  await task.submit([4, 5])
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
  const supervision = { ledger, afterDeath: true, onSessions: vi.fn(), onFinishing: vi.fn() }
  const worker = new Worker({ tasks: [task] }, supervision)
  onTestFinished(() => worker.close())
  await worker.start()
  if (!('lease' in script)) return expect(consumed).toEqual([expect.not.closeTo(1)])
  // Idle or not, after a while.
  await until('batches', () => consumed.length === 2)
  // What killed the process before is first met alone.
  expect(consumed).toEqual([1, expect.not.closeTo(1)])
})

test('a lost lease: what runs goes on, what has not started is forgotten, a new session begins', async () => {
  const started: number[] = []
  const let1 = gate()
  const { task, worker, broker, logger, stats } = setUp(
    {},
    async ({ data }) => {
      started.push(Number(data))
      if (started.length <= 1) await let1.opened
    },
    { concurrency: 1, prefetch: 3, leaseMs: 3_000 },
  )
  await task.submit([1, 2, 3])
  await worker.start()
  await until('one runs and two wait', () => worker.status.running === 1 && worker.status.waiting === 2)
  const [consumer] = broker.store.consumers()
  consumer?.loseLease('every')
  await until('there is a new session', () => broker.store.consumers().length === 1)
  let1.open()
  await until('all have run', () => stats().ready === 0 && stats().active === 0 && worker.status.done === 4)
  // The first ran twice: its first owner could not be called back, and was too late to settle it.
  expect(started.toSorted((a, b) => a - b)).toEqual([1, 1, 2, 3])
  expect(logger.lines).toContainEqual(expect.objectContaining({ message: expect.stringMatching(/ack came too late/) }))
})

/** A worker whose first job freezes it for longer than its lease, and a broker that says then whether the lease has ended. */
function setUpFreeze(ended: boolean, options: WorkerOptions) {
  const events: unknown[] = []
  const consume = vi.fn()
  let state: 'new' | 'frozen' | 'asked' = 'new'
  // The lease of the broker lasts: only this worker knows that its own may have ended.
  const { task, worker } = setUp(
    {
      consume: (real, options) => {
        consume()
        return real.consume({ ...options, leaseMs: 600_000 })
      },
      renew: async (real, ids) => {
        if (state !== 'frozen') return real.renew(ids, 600_000)
        state = 'asked'
        events.push('asked')
        return ended ? ids : []
      },
    },
    ({ data }) => {
      events.push(data)
      if (state !== 'new') return
      state = 'frozen'
      for (const since = performance.now(); performance.now() - since < 1_000;);
    },
    { ...options, leaseMs: 900 },
  )
  return { task, worker, events, consume }
}

test.each([
  ['stands', false, [0, 'asked', 1, 2, 3, 4]],
  // The first is given back with the rest: its worker learns too late to settle it.
  ['has ended', true, [0, 'asked', 0, 1, 2, 3, 4]],
] as const)(
  'after a freeze as long as its lease, a worker asks before it starts more jobs: the lease %s',
  async (_, ended, expected) => {
    const { task, worker, events, consume } = setUpFreeze(ended, { concurrency: 1, prefetch: 5 })
    await task.submit([0, 1, 2, 3, 4])
    await worker.start()
    await until('all have run', () => worker.status.done === expected.length - 1)
    expect(events).toEqual(expected)
    expect(consume).toHaveBeenCalledTimes(ended ? 2 : 1)
  },
)

test('a worker that has lost the last of its share ends all the same', async () => {
  const { task, worker, events } = setUpFreeze(true, { concurrency: 2, prefetch: 5, maxJobs: 2 })
  await task.submit([0, 1, 2])
  await worker.start()
  await worker.ended
  expect(events).toEqual([0, 'asked'])
})

test('a claim that comes late, while a job is held, does not keep a worker that has had its share', async () => {
  const ran: unknown[] = []
  const [first, late, renewed] = [gate(), gate(), gate()]
  let state: 'new' | 'frozen' | 'late' = 'new'
  let calls = 0
  const { task, worker, stats } = setUp(
    {
      consume: (real, options) => real.consume({ ...options, leaseMs: 600_000 }),
      receive: async (real, max, options) => {
        if (++calls === 1) return real.receive(max, options)
        await late.opened
        const deliveries = await real.receive(max, { signal: new AbortController().signal })
        state = 'late'
        return deliveries
      },
      renew: async (real, ids) => {
        if (state !== 'new') await renewed.opened
        return real.renew(ids, 600_000)
      },
    },
    async ({ data }) => {
      ran.push(data)
      if (data === 0 || data === 1) return first.opened
      if (data !== 2) return
      state = 'frozen'
      for (const since = performance.now(); performance.now() - since < 1_000;);
    },
    { concurrency: 2, prefetch: 10, maxJobs: 4, leaseMs: 900 },
  )
  await task.submit([0, 1, 2, 3])
  await worker.start()
  await until('two run, and more are asked for', () => ran.length === 2 && calls === 2)
  first.open()
  await until('the freeze is over', () => worker.status.done === 3)
  await task.submit([4, 5])
  late.open()
  await until('the late claim', () => state === 'late')
  renewed.open()
  await worker.ended
  expect(ran).toEqual([0, 1, 2, 3])
  expect(stats()).toMatchObject({ ready: 2, active: 0 })
})

test('waits at its start for a broker that is away', async () => {
  let tries = 0
  const ran = vi.fn()
  const { task, worker, logger } = setUp(
    {
      connect: (real) => (tries++ < 2 ? Promise.reject(new BrokerError('ZYQ_UNREACHABLE', 'away')) : real.connect()),
    },
    ran,
  )
  await worker.start()
  await task.submit(1)
  await until('it runs', () => ran.mock.calls.length === 1)
  expect(logger.lines.filter(({ message }) => /broker unavailable/.test(message))).toHaveLength(1)
})

test('closed while it waits for a broker, its start resolves and it is closed', async () => {
  const { worker, broker } = setUp(
    { connect: () => Promise.reject(new BrokerError('ZYQ_UNREACHABLE', 'away')) },
    vi.fn(),
  )
  const starting = worker.start()
  await until('it is at it', () => broker.made() === 1)
  await worker.close()
  await starting
  expect(worker.status.state).toBe('closed')
})

test('closed in the very moment of its start, it opens nothing', async () => {
  const { worker, broker } = setUp({}, vi.fn())
  const starting = worker.start()
  await worker.close()
  await starting
  await worker.ended
  expect(worker.status.state).toBe('closed')
  expect(broker.store.consumers()).toEqual([])
  await expect(worker.start()).rejects.toMatchObject({ code: 'ZYQ_CLOSED' })
})

test('closed while consume is under way, it leaves no consumer behind', async () => {
  const let1 = gate()
  const asked = gate()
  const { worker, broker } = setUp(
    {
      consume: async (real, options) => {
        asked.open()
        await let1.opened
        return real.consume(options)
      },
    },
    vi.fn(),
  )
  const starting = worker.start()
  await asked.opened
  const closing = worker.close()
  let1.open()
  await Promise.all([closing, starting])
  expect(broker.store.consumers()).toEqual([])
})

test('serves two brokers at once', async () => {
  const ran: number[] = []
  const tasks = [scripted(), scripted()].map((broker) => taskOn(broker, ({ data }) => ran.push(Number(data))))
  const worker = workerOn({ tasks })
  await worker.start()
  for (const [index, task] of tasks.entries()) await task.submit(index)
  await until('both have run', () => ran.length === 2)
  expect(ran.toSorted((a, b) => a - b)).toEqual([0, 1])
})

test('start rejects on what the broker cannot do, and all is closed then', async () => {
  const other = scripted()
  const good = taskOn(other, vi.fn())
  const bad = taskOn(scripted({ capabilities: { priorities: 1 } }), vi.fn(), { priority: 'high' })
  const worker = workerOn({ tasks: [good, bad] })
  await expect(worker.start()).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/priority/),
  })
  expect(worker.status.state).toBe('closed')
  expect(other.store.consumers()).toEqual([])
  await worker.ended
})

test('start rejects on an option that the broker does not know', async () => {
  const task = taskOn(scripted(), vi.fn(), JSON.parse('{"exchange":"x"}'))
  await expect(workerOn({ tasks: [task] }).start()).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/exchange/),
  })
})

test('start rejects on two tasks that want one queue with different options', async () => {
  const broker = scripted({ declare: async () => {} })
  const tasks = ['a', 'b'].map((key) => taskOn(broker, vi.fn(), Object.assign({ queue: 'shared' }, { key })))
  await expect(workerOn({ tasks }).start()).rejects.toMatchObject({
    code: 'ZYQ_CONFIG',
    message: expect.stringMatching(/shared/),
  })
})

test('what only a supervisor can keep, a worker in a process of one’s own refuses', async () => {
  const task = taskOn(scripted(), vi.fn(), { hardTimeoutMs: 1000 })
  await expect(workerOn({ tasks: [task] }).start()).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/hard/),
  })
})

test('names what is wrong with its options', async () => {
  expect(() => createWorker({ concurrency: 0 })).toThrow(/concurrency/)
  expect(() => createWorker({ graceMs: 2 ** 31 })).toThrow(/graceMs/)
  const mistyped: object = { concurency: 3 }
  expect(() => createWorker(mistyped)).toThrow(/concurency/)
  const task = taskOn(scripted(), vi.fn())
  await expect(workerOn({ tasks: [] }).start()).rejects.toMatchObject({ message: expect.stringMatching(/no task/) })
  await expect(workerOn({ tasks: [task], queues: ['x'] }).start()).rejects.toMatchObject({
    message: expect.stringMatching(/No task has the queue x/),
  })
  const remote = new Task(uniqueName(), { server: scripted() })
  await expect(workerOn({ tasks: [remote] }).start()).rejects.toMatchObject({
    message: expect.stringMatching(/remote/),
  })
})

test('close does not wait for a broker that has gone away', async () => {
  const let1 = gate()
  const { task, worker, broker } = setUp({}, () => let1.opened, { leaseMs: 3_600_000 })
  await task.submit(1)
  await worker.start()
  await until('it runs', () => worker.status.running === 1)
  const away = () => Promise.reject(new BrokerError('ZYQ_UNREACHABLE', 'away'))
  Object.assign(broker.script, { receive: away, ack: away, release: away, connect: away })
  let1.open()
  await until('it is done', () => worker.status.done === 1)
  await worker.close()
  expect(worker.status.state).toBe('closed')
})

test('a broker that cannot close holds nothing up', async () => {
  const { worker } = setUp({ close: () => Promise.reject(new Error('cannot')) }, vi.fn())
  await worker.start()
  await worker.drain()
  await worker.ended
})

test('whatever a handler throws ends the job, and no more than the job', async () => {
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const thrown: unknown[] = [undefined, null, 0, Object.create(null), revoked.proxy, Symbol('s'), { toString: 1 }]
  const { task, worker, stats } = setUp(
    {},
    ({ data }) => {
      throw thrown[Number(data)]
    },
    { task: { retries: 0 } },
  )
  await worker.start()
  await task.submit(thrown.map((_, index) => index))
  await until('all are dead', () => stats().dead === thrown.length)
  expect(worker.status.running).toBe(0)
})

test.each([
  ['at once', () => undefined],
  ['later', () => nextTurn()],
])('no job sees the async context of another, if they end %s', async (_, wait) => {
  const storage = new AsyncLocalStorage<string>()
  const jobs = Array.from({ length: 41 }, (__, index) => index)
  const seen: unknown[] = []
  const kept: unknown[] = []
  const { task, worker, broker } = setUp(
    {},
    ({ data }) => {
      seen.push(storage.getStore())
      storage.enterWith(`job ${String(data)}`)
      const waiting = wait()
      if (waiting === undefined) return kept.push(storage.getStore())
      return waiting.then(() => kept.push(storage.getStore()))
    },
    { concurrency: 3, prefetch: 10 },
  )
  await task.submit(jobs)
  await worker.start()
  await until('all have run', () => worker.status.done === jobs.length)
  expect(seen).toEqual(jobs.map(() => undefined))
  expect(new Set(kept)).toEqual(new Set(jobs.map((job) => `job ${job}`)))
  expect(broker.made()).toBe(2)
})

test('a fresh broker sees what a worker says of itself', async () => {
  const { worker, broker, task } = setUp({}, vi.fn(), { name: 'mailer' })
  await worker.start()
  const onlooker = createMemoryBroker(broker.store)
  await onlooker.connect()
  expect(await onlooker.admin.workers?.()).toMatchObject([
    { client: { name: 'mailer', pid: process.pid }, queues: [task.name] },
  ])
})

test('a job whose settlement the broker refuses comes back, though its connection stands', async () => {
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

test('a worker on a broker without delays says that what it retries comes at once', async () => {
  const attempts: number[] = []
  const fails = ({ attempt }: Job): void => {
    attempts.push(attempt)
    throw new Retry({ delayMs: 3_600_000 })
  }
  const { task, worker, logger, stats } = setUp({ capabilities: { delay: 'none' } }, fails, { task: { retries: 2 } })
  await worker.start()
  await task.submit(1)
  await until('it is dead', () => stats().dead === 1)
  expect(attempts).toEqual([1, 2, 3])
  expect(logger.lines.filter(({ message }) => message.includes('has no delays'))).toMatchObject([{ level: 'warn' }])
  const sure = setUp({ capabilities: { delay: 'none' } }, () => {}, { task: { retries: 0 } })
  await sure.worker.start()
  await sure.worker.drain()
  expect(sure.logger.lines).toEqual([])
})

test('settings by which the broker may lose jobs are told at the start, and nothing else of its settings', async () => {
  const check = async () => [
    { level: 'problem', message: 'jobs are evicted', remedy: 'do not' } as const,
    { level: 'warning', message: 'it could be better' } as const,
  ]
  const { worker, logger } = setUp({ check }, () => {})
  await worker.start()
  await until('it is told', () => logger.lines.some(({ level }) => level === 'error'))
  expect(logger.lines).toEqual([
    { level: 'error', fields: { remedy: 'do not' }, message: 'scripted: jobs are evicted' },
  ])
})

test('a worker whose broker does not tell its settings works', async () => {
  const ran: unknown[] = []
  const { task, worker, logger } = setUp({ check: () => Promise.reject(new Error('not allowed')) }, ({ data }) =>
    ran.push(data),
  )
  await worker.start()
  await task.submit(1)
  await until('it has run', () => ran.length === 1)
  expect(logger.lines.filter(({ level }) => level !== 'debug')).toEqual([])
})

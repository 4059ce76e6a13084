import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { BrokerError } from '../../src/errors.ts'
import { producers } from '../../src/producer/producers.ts'
import { createMemoryBroker } from '../../src/testing/index.ts'
import { gate, scripted, until } from '../support.ts'
import { setUp, taskOn, workerOn } from './set-up.ts'

afterEach(() => producers.close())

test('runs jobs, in their order if one runs at a time', async () => {
  const ran: unknown[] = []
  const { task, worker, stats } = setUp({}, ({ data }) => ran.push(data), { concurrency: 1 })
  await task.submit([1, 2, 3], { batch: true })
  await worker.start()
  await task.submit(4)
  await until('all have run', () => ran.length === 4)
  await worker.drain()
  expect(ran).toEqual([1, 2, 3, 4])
  expect(stats()).toMatchObject({ ready: 0, active: 0, workers: 0 })
  expect(worker.status).toEqual({ state: 'closed', done: 4, jobs: 4, dead: 0, expired: 0, running: 0, waiting: 0 })
  await worker.ended
})

test('runs as many jobs at once as `concurrency` says', async () => {
  let running = 0
  let most = 0
  const release = gate()
  const { task, worker } = setUp(
    {},
    async () => {
      most = Math.max(most, ++running)
      await release.opened
      running--
    },
    { concurrency: 3, prefetch: 20 },
  )
  await task.submit(
    Array.from({ length: 12 }, (_, index) => index),
    { batch: true },
  )
  await worker.start()
  await until('three run', () => running === 3)
  release.open()
  await until('all are done', () => worker.status.done === 12)
  expect(most).toBe(3)
})

test('drain ends when the last running job ends, before the grace period is over', async () => {
  const release = gate()
  const { task, worker, stats } = setUp({}, () => release.opened, { concurrency: 2, prefetch: 10, graceMs: 1_000_000 })
  await task.submit(
    Array.from({ length: 8 }, (_, index) => index),
    { batch: true },
  )
  await worker.start()
  await until('two run', () => worker.status.running === 2)
  const draining = worker.drain()
  await until('the rest is given back', () => stats().ready === 6)
  expect(worker.status.state).toBe('draining')
  release.open()
  await draining
  expect(stats()).toMatchObject({ ready: 6, active: 0 })
  expect(worker.status.done).toBe(2)
})

test('a job that exceeds the grace period is aborted and released; it counts no lost delivery', async () => {
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

test('close releases all jobs immediately, also during a drain', async () => {
  for (const drainFirst of [false, true]) {
    const { task, worker, stats } = setUp({}, () => new Promise(() => {}), {
      concurrency: 2,
      prefetch: 4,
      graceMs: 1_000_000,
    })
    await task.submit([1, 2, 3, 4, 5], { batch: true })
    await worker.start()
    await until('two run', () => worker.status.running === 2)
    const draining = drainFirst ? worker.drain() : undefined
    await worker.close()
    await draining
    expect(stats()).toMatchObject({ ready: 5, active: 0, workers: 0 })
  }
})

test('runs exactly maxJobs jobs to their end and releases the rest', async () => {
  const ran: number[] = []
  const release = gate()
  const { task, worker, stats } = setUp(
    {},
    async ({ data }) => {
      ran.push(Number(data))
      await release.opened
    },
    { concurrency: 4, prefetch: 40, maxJobs: 6, graceMs: 0 },
  )
  await task.submit(
    Array.from({ length: 50 }, (_, index) => index),
    { batch: true },
  )
  await worker.start()
  await until('four run', () => ran.length === 4)
  release.open()
  await worker.ended
  expect(ran).toHaveLength(6)
  expect(worker.status.done).toBe(6)
  expect(stats()).toMatchObject({ ready: 44, active: 0 })
})

test('the last of maxJobs jobs may take any time; the others are released meanwhile', async () => {
  const release = gate()
  const { task, worker, stats } = setUp({}, () => release.opened, { maxJobs: 1, graceMs: 0, prefetch: 5 })
  await task.submit([1, 2, 3], { batch: true })
  await worker.start()
  await until('the others are given back', () => worker.status.running === 1 && stats().ready === 2)
  expect(worker.status.state).toBe('running')
  release.open()
  await worker.ended
  expect(stats()).toMatchObject({ ready: 2, active: 0 })
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

test('close does not wait for a broker that is unavailable', async () => {
  const release = gate()
  const { task, worker, broker } = setUp({}, () => release.opened, { leaseMs: 3_600_000 })
  await task.submit(1)
  await worker.start()
  await until('it runs', () => worker.status.running === 1)
  const away = () => Promise.reject(new BrokerError('ZYQ_UNREACHABLE', 'away'))
  Object.assign(broker.script, { receive: away, ack: away, release: away, connect: away })
  release.open()
  await until('it is done', () => worker.status.done === 1)
  await worker.close()
  expect(worker.status.state).toBe('closed')
})

test('drain resolves if the broker cannot close', async () => {
  const { worker } = setUp({ close: () => Promise.reject(new Error('cannot')) }, vi.fn())
  await worker.start()
  await worker.drain()
  await worker.ended
})

test('any thrown value fails the job and does not end the worker', async () => {
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
  await task.submit(
    thrown.map((_, index) => index),
    { batch: true },
  )
  await until('all are dead', () => stats().dead === thrown.length)
  expect(worker.status.running).toBe(0)
})

test('a job that is delivered again while it still runs here starts again only after the end of that run', async () => {
  const { opened, open } = gate()
  const runs: number[] = []
  let running = 0
  const { broker, task, worker } = setUp(
    {},
    async (job) => {
      runs.push(++running)
      if (job.deliveryCount === 0) await opened
      running--
    },
    { concurrency: 3 },
  )
  const { id } = await task.submit(1)
  await worker.start()
  await until('the first run', () => runs.length === 1)
  const other = createMemoryBroker(broker.store)
  await other.connect()
  const [consumer] = (await other.admin.workers?.()) ?? []
  if (other.leases.kind !== 'renewable') expect.fail('the memory broker renews')
  await other.leases.reclaim(consumer?.id ?? '', [{ id }])
  await until('the second delivery', () => worker.status.waiting === 1)
  // Another job is not held up.
  await task.submit(2)
  await until('another job has started', () => worker.status.done === 1 || runs.length === 2)
  expect(runs).toEqual([1, 2])
  open()
  await until('the second run', () => runs.length === 3)
  expect(runs).toEqual([1, 2, 1])
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
  await task.submit(jobs, { batch: true })
  await worker.start()
  await until('all have run', () => worker.status.done === jobs.length)
  expect(seen).toEqual(jobs.map(() => undefined))
  expect(new Set(kept)).toEqual(new Set(jobs.map((job) => `job ${job}`)))
  expect(broker.made()).toBe(2)
})

test('another broker instance lists the worker with its name and process id', async () => {
  const { worker, broker, task } = setUp({}, vi.fn(), { name: 'mailer' })
  await worker.start()
  const other = createMemoryBroker(broker.store)
  await other.connect()
  expect(await other.admin.workers?.()).toMatchObject([
    { client: { name: 'mailer', pid: process.pid }, queues: [task.name] },
  ])
})

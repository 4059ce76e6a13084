import { afterEach, expect, test, vi } from 'vitest'
import { producers } from '../../src/producer/producers.ts'
import type { WorkerOptions } from '../../src/worker/options.ts'
import { gate, until } from '../support.ts'
import { setUp } from './set-up.ts'

afterEach(() => producers.close())

test('after a lost lease running jobs go on, unstarted jobs are dropped, and a new session begins', async () => {
  const started: number[] = []
  const release = gate()
  const { task, worker, broker, logger, stats } = setUp(
    {},
    async ({ data }) => {
      started.push(Number(data))
      if (started.length <= 1) await release.opened
    },
    { concurrency: 1, prefetch: 3, leaseMs: 3_000 },
  )
  await task.submit([1, 2, 3], { batch: true })
  await worker.start()
  await until('one runs and two wait', () => worker.status.running === 1 && worker.status.waiting === 2)
  const [consumer] = broker.store.consumers()
  consumer?.loseLease('every')
  await until('there is a new session', () => broker.store.consumers().length === 1)
  release.open()
  await until('all have run', () => stats().ready === 0 && stats().active === 0 && worker.status.done === 4)
  // The first job ran twice: its first worker lost the lease and settled too late.
  expect(started.toSorted((a, b) => a - b)).toEqual([1, 1, 2, 3])
  expect(logger.lines).toContainEqual(expect.objectContaining({ message: expect.stringMatching(/ack came too late/) }))
})

/** A worker whose first job blocks it for longer than its lease. `ended` decides whether the broker ends the lease. */
function setUpFreeze(ended: boolean, options: WorkerOptions) {
  const events: unknown[] = []
  const consume = vi.fn()
  let state: 'new' | 'frozen' | 'renewed' = 'new'
  // The broker's lease is longer: only the worker assumes that it may have ended.
  const { task, worker } = setUp(
    {
      consume: (real, options) => {
        consume()
        return real.consume({ ...options, leaseMs: 600_000 })
      },
      renew: async (real, ids) => {
        if (state !== 'frozen') return real.renew(ids, 600_000)
        state = 'renewed'
        events.push('renewed')
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
  ['stands', false, [0, 'renewed', 1, 2, 3, 4]],
  // The first job returns with the others, because its worker settles too late.
  ['has ended', true, [0, 'renewed', 0, 1, 2, 3, 4]],
] as const)(
  'after a freeze as long as its lease, a worker renews it before it starts more jobs: the lease %s',
  async (_, ended, expected) => {
    const { task, worker, events, consume } = setUpFreeze(ended, { concurrency: 1, prefetch: 5 })
    await task.submit([0, 1, 2, 3, 4], { batch: true })
    await worker.start()
    await until('all have run', () => worker.status.done === expected.length - 1)
    expect(events).toEqual(expected)
    expect(consume).toHaveBeenCalledTimes(ended ? 2 : 1)
  },
)

test('a worker ends if it lost the last of its maxJobs jobs', async () => {
  const { task, worker, events } = setUpFreeze(true, { concurrency: 2, prefetch: 5, maxJobs: 2 })
  await task.submit([0, 1, 2], { batch: true })
  await worker.start()
  await worker.ended
  expect(events).toEqual([0, 'renewed'])
})

test('a late delivery, received while a job is held, does not keep a worker open after maxJobs', async () => {
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
  await task.submit([0, 1, 2, 3], { batch: true })
  await worker.start()
  await until('two run, and more are asked for', () => ran.length === 2 && calls === 2)
  first.open()
  await until('the freeze is over', () => worker.status.done === 3)
  await task.submit([4, 5], { batch: true })
  late.open()
  await until('the late claim', () => state === 'late')
  renewed.open()
  await worker.ended
  expect(ran).toEqual([0, 1, 2, 3])
  expect(stats()).toMatchObject({ ready: 2, active: 0 })
})

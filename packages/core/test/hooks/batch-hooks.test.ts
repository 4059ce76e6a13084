import { expect, onTestFinished, test } from 'vitest'
import type { BatchHooks, EndingJob } from '../../src/hooks/batch-hooks.ts'
import { Discard } from '../../src/middleware/signals.ts'
import { splitTaskOptions, type TaskOptions } from '../../src/tasks/options.ts'
import { Task } from '../../src/tasks/task.ts'
import { createTestQueue } from '../../src/testing/index.ts'
import { producers } from '../../src/producer/producers.ts'
import type { Job } from '../../src/worker/job.ts'
import { isOutcome, type Outcome } from '../../src/worker/outcome.ts'
import { createWorker } from '../../src/worker/worker.ts'
import { gate, recordingLogger, scripted, uniqueName, until, type ScriptedBroker } from '../support.ts'

function taskWith(hooks: BatchHooks, run: (job: Job) => unknown = () => {}, options: TaskOptions = {}) {
  const broker = scripted()
  const task = new Task<number>(
    uniqueName(),
    { ...options, server: broker, hooks },
    { run: (_worker, job) => run(job) },
  )
  return { task, broker, stats: () => broker.store.queue(task.name).stats() }
}

function workerOf(...tasks: Task<number>[]) {
  const logger = recordingLogger()
  const worker = createWorker({ tasks, logger, concurrency: 100 })
  onTestFinished(() => worker.close())
  return { worker, logger }
}

function sharing(broker: ScriptedBroker, hooks: BatchHooks, run: (job: Job) => unknown = () => {}) {
  return new Task<number>(uniqueName(), { server: broker, hooks }, { run: (_worker, job) => run(job) })
}

test('the publish hook gets all submits of one turn, also of other tasks with the same hooks', async () => {
  const batches: number[] = []
  const hooks: BatchHooks = {
    publish(batch, next) {
      batches.push(batch.length)
      return next(batch)
    },
  }
  const { task, broker, stats } = taskWith(hooks)
  const other = sharing(broker, hooks)
  const handles = await Promise.all([task.submit(1), task.submit([2, 3], { batch: true }), other.submit(4)])
  expect(batches).toEqual([4])
  expect(handles.flat().map(({ queue }) => queue)).toEqual([task.name, task.name, task.name, other.name])
  expect(stats().ready).toBe(3)
  expect(broker.store.queue(other.name).stats().ready).toBe(1)
})

test('a list of 2,500 jobs passes the publish hook in batches of at most 1,000', async () => {
  const batches: number[] = []
  const { task, stats } = taskWith({
    publish(batch, next) {
      batches.push(batch.length)
      return next(batch)
    },
  })
  await task.submitMany(Array.from({ length: 2_500 }, (_, at) => at))
  expect(Math.max(...batches)).toBeLessThanOrEqual(1_000)
  expect(batches.reduce((sum, size) => sum + size, 0)).toBe(2_500)
  expect(stats().ready).toBe(2_500)
})

test('a publish hook may change a message, and return a result for one that it does not pass on', async () => {
  const { task, broker } = taskWith({
    async publish(batch, next) {
      const [first, second] = batch
      if (first === undefined || second === undefined) throw new Error('two were submitted')
      const changed = { ...first, message: { ...first.message, headers: { ...first.message.headers, seen: 'yes' } } }
      const [stored] = await next([changed])
      if (stored === undefined) throw new Error('no answer')
      return [stored, { status: 'refused', error: new RangeError('one is enough') }]
    },
  })
  await expect(task.submit([1, 2], { batch: true })).rejects.toMatchObject({
    code: 'ZYQ_SUBMIT_PARTIAL',
    stored: [{ queue: task.name }],
    refused: [{ index: 1, error: new RangeError('one is enough') }],
  })
  expect(broker.store.queue(task.name).stats().ready).toBe(1)
})

test('if a publish hook throws, jobs that it did not publish are refused and published jobs stay', async () => {
  const early = taskWith({
    publish() {
      throw new RangeError('early')
    },
  })
  await expect(early.task.submit(1)).rejects.toThrow('early')
  expect(early.stats).toThrow('There is no queue')

  const late = taskWith({
    async publish(batch, next) {
      await next(batch)
      throw new RangeError('late')
    },
  })
  await expect(late.task.submit(1)).resolves.toMatchObject({ queue: late.task.name })
  expect(late.stats().ready).toBe(1)

  const short = taskWith({ publish: async () => [] })
  await expect(short.task.submit(1)).rejects.toMatchObject({ code: 'ZYQ_CONFIG' })
})

test('the start hook gets all jobs that start together; a job with an outcome does not start', async () => {
  const batches: number[][] = []
  const ran: unknown[] = []
  const { task, stats } = taskWith(
    {
      async start(jobs) {
        batches.push(jobs.map(({ data }) => Number(data)))
        return jobs.map(({ data }) => (data === 2 ? { kind: 'ack', end: 'discarded' } : 'start'))
      },
    },
    ({ data }) => ran.push(data),
  )
  await task.submit([1, 2, 3], { batch: true })
  const { worker } = workerOf(task)
  await worker.start()
  await until('all have gone', () => stats().ready === 0 && stats().active === 0)
  expect(batches).toEqual([[1, 2, 3]])
  expect(ran).toEqual([1, 3])
})

test('if a start hook throws, its jobs return to the queue and start later', async () => {
  let fails = true
  const ran: unknown[] = []
  const { task } = taskWith(
    {
      async start(jobs) {
        if (fails) throw new Error('the store is away')
        return jobs.map(() => 'start')
      },
    },
    ({ data }) => ran.push(data),
  )
  await task.submit(1)
  const { worker, logger } = workerOf(task)
  await worker.start()
  await until('it has failed', () => logger.lines.some(({ message }) => message.startsWith('start hook failed')))
  expect(ran).toEqual([])
  fails = false
  await until('it has run', () => ran.length === 1)
})

test('the settle hook gets all outcomes of one turn before the broker', async () => {
  const batches: (readonly EndingJob[])[] = []
  const mayEnd = gate()
  const { task, stats } = taskWith(
    {
      async settle(jobs) {
        batches.push(jobs)
        await mayEnd.opened
        return jobs.map(({ outcome }) => outcome)
      },
    },
    ({ data }) => {
      if (data === 2) throw new Discard('not wanted')
    },
  )
  await task.submit([1, 2], { batch: true })
  const { worker } = workerOf(task)
  await worker.start()
  await until('both have ended', () => batches.length > 0)
  expect(batches.map((batch) => batch.map(({ started, outcome }) => [started, outcome.end]))).toEqual([
    [
      [true, 'done'],
      [true, 'discarded'],
    ],
  ])
  expect(stats().active).toBe(2)
  mayEnd.open()
  await until('both are settled', () => stats().active === 0)
  expect(stats().ready).toBe(0)
})

test('if a settle hook throws, the job runs again; a draining worker waits for its hooks', async () => {
  let calls = 0
  let runs = 0
  const { task, stats } = taskWith(
    {
      async settle(jobs) {
        if (++calls === 1) throw new Error('the store is away')
        return jobs.map(({ outcome }) => outcome)
      },
    },
    () => runs++,
  )
  await task.submit(1)
  const { worker } = workerOf(task)
  await worker.start()
  await until('it has run twice', () => runs === 2)
  await worker.drain()
  expect(calls).toBe(2)
  expect(stats()).toMatchObject({ ready: 0, delayed: 0, active: 0 })
})

test('the settle hook gets refused jobs and released jobs', async () => {
  const ends: [boolean, Outcome['kind']][] = []
  const hooks: BatchHooks = {
    async settle(jobs) {
      ends.push(...jobs.map(({ started, outcome }): [boolean, Outcome['kind']] => [started, outcome.kind]))
      return jobs.map(({ outcome }) => outcome)
    },
  }
  const started = gate()
  const { task, broker } = taskWith(hooks, () => {
    started.open()
    return new Promise(() => {})
  })
  const { worker } = workerOf(task)
  await worker.start()
  await task.submit(1)
  await started.opened
  broker.store.publish([{ queue: task.name, id: 'bad', body: Buffer.from('{'), headers: {}, delayMs: 0, priority: 4 }])
  await until('the other was refused', () => ends.length === 1)
  await worker.close()
  expect(ends).toEqual([
    [false, 'reject'],
    [true, 'release'],
  ])
})

test('hooks run in a test queue', async () => {
  const calls: string[] = []
  const { task } = taskWith(
    {
      publish(batch, next) {
        calls.push('publish')
        return next(batch)
      },
      async start(jobs) {
        calls.push('start')
        return jobs.map(() => 'start')
      },
      async settle(jobs) {
        calls.push('settle')
        return jobs.map(({ outcome }) => outcome)
      },
    },
    () => calls.push('run'),
  )
  await using queue = createTestQueue({ tasks: [task] })
  await task.submit(1)
  await queue.run()
  expect(calls).toEqual(['publish', 'start', 'run', 'settle'])
})

test('hooks that are not functions are refused', () => {
  const make = (hooks: unknown) => () => splitTaskOptions({ hooks })
  for (const hooks of [{}, 3, { start: 'yes' }, null]) {
    expect(make(hooks)).toThrow(expect.objectContaining({ code: 'ZYQ_CONFIG' }))
  }
})

test.each([
  ['a delay that is not a number', { kind: 'release', delayMs: null }],
  ['a negative delay', { kind: 'release', delayMs: -1 }],
  ['an unknown kind', { kind: 'later' }],
  ['text', 'later'],
])('a start hook that returns %s has failed: the job stays and runs later', async (_, decision) => {
  let isBroken = true
  const ran: unknown[] = []
  const start: BatchHooks['start'] = async (jobs) =>
    isBroken ? JSON.parse(JSON.stringify([decision])) : jobs.map(() => 'start')
  const { task } = taskWith({ start }, ({ data }) => ran.push(data))
  await task.submit(1)
  const { worker, logger } = workerOf(task)
  await worker.start()
  await until('it has failed', () => logger.lines.some(({ message }) => message.startsWith('start hook failed')))
  isBroken = false
  await until('it has run', () => ran.length === 1)
})

test('a settle hook that takes long delays no job without hooks', async () => {
  const mayEnd = gate()
  const { task, broker, stats } = taskWith({
    async settle(jobs) {
      await mayEnd.opened
      return jobs.map(({ outcome }) => outcome)
    },
  })
  const plain = sharing(broker, { publish: (batch, next) => next(batch) })
  await task.submit(1)
  await plain.submit(
    Array.from({ length: 30 }, (_, at) => at),
    { batch: true },
  )
  const { worker } = workerOf(task, plain)
  await worker.start()
  await until('the plain jobs are settled', () => {
    const { ready, active } = broker.store.queue(plain.name).stats()
    return ready === 0 && active === 0
  })
  expect(stats().active).toBe(1)
  mayEnd.open()
  await until('the other is settled', () => stats().active === 0)
})

test('a publish hook that throws while a message is being stored does not call it refused', async () => {
  const { task, stats } = taskWith({
    async publish(batch, next) {
      const [results] = await Promise.all([next(batch), Promise.reject(new Error('the audit is away'))])
      return results
    },
  })
  await expect(task.submit(1)).resolves.toMatchObject({ queue: task.name })
  expect(stats().ready).toBe(1)
})

test.each(['close', 'drain'] as const)(
  '%s during a start hook starts no job, and its settle hook learns of it',
  async (end) => {
    const asked = gate()
    const mayStart = gate()
    const ends: EndingJob[] = []
    const ran: unknown[] = []
    const { task, stats } = taskWith(
      {
        async start(jobs) {
          asked.open()
          await mayStart.opened
          return jobs.map(() => 'start')
        },
        async settle(jobs) {
          ends.push(...jobs)
          return jobs.map(({ outcome }) => outcome)
        },
      },
      ({ data }) => ran.push(data),
    )
    await task.submit(1)
    const { worker } = workerOf(task)
    await worker.start()
    await asked.opened
    const ending = worker[end]()
    mayStart.open()
    await ending
    expect(ran).toEqual([])
    expect(ends).toMatchObject([{ started: true, outcome: { kind: 'release', delayMs: 0 } }])
    expect(stats().ready).toBe(1)
  },
)

test('a job that its start hook denies does not count against maxJobs', async () => {
  const ran: unknown[] = []
  const { task, broker } = taskWith(
    {
      start: async (jobs) => jobs.map(({ data }) => (data === 1 ? { kind: 'ack', end: 'discarded' } : 'start')),
    },
    ({ data }) => ran.push(data),
  )
  await task.submit([1, 2], { batch: true })
  const worker = createWorker({ tasks: [task], concurrency: 1, maxJobs: 1 })
  onTestFinished(() => worker.close())
  await worker.start()
  await worker.ended
  expect(ran).toEqual([2])
  expect(broker.store.queue(task.name).stats().ready).toBe(0)
})

test('submits within a publish hook are waited for when the producers close', async () => {
  const entered = gate()
  const mayPublish = gate()
  const { task, stats } = taskWith({
    async publish(batch, next) {
      entered.open()
      await mayPublish.opened
      return next(batch)
    },
  })
  const submitting = task.submitMany([1, 2])
  await entered.opened
  const closing = producers.close()
  mayPublish.open()
  await closing
  expect(await submitting).toHaveLength(2)
  expect(stats().ready).toBe(2)
})

test('an outcome with a delay of NaN is none', () => {
  expect(isOutcome({ kind: 'release', delayMs: Number.NaN })).toBe(false)
  expect(isOutcome({ kind: 'release', delayMs: 0 })).toBe(true)
})

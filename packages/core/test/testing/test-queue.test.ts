import { afterEach, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { Discard, Postpone, Retry } from '../../src/middleware/signals.ts'
import { producers } from '../../src/producer/producers.ts'
import type { BrokerTaskOptions } from '../../src/tasks/options.ts'
import { Task } from '../../src/tasks/task.ts'
import { createTestQueue } from '../../src/testing/index.ts'
import type { Job } from '../../src/worker/job.ts'
import { scripted, uniqueName } from '../support.ts'

afterEach(() => producers.close())

function taskThat(run: (job: Job) => unknown, options: ConstructorParameters<typeof Task>[1] = {}) {
  return new Task(uniqueName(), { server: 'nowhere', ...options }, { run: (_worker, job) => run(job) })
}

test('run runs the submitted jobs and jobs lists the results', async () => {
  const double = taskThat(({ data }) => Number(data) * 2)
  await using queue = createTestQueue({ tasks: [double] })
  await double.submit([1, 2], { batch: true })
  expect(queue.jobs(double)).toMatchObject([
    { state: 'waiting', data: 1, attempts: 0, result: undefined },
    { state: 'waiting', data: 2 },
  ])
  await queue.run()
  expect(queue.jobs(double.name)).toMatchObject([
    { state: 'done', data: 1, attempts: 1, result: 2, errors: [] },
    { state: 'done', data: 2, attempts: 1, result: 4, errors: [] },
  ])
  expect(queue.jobs('another')).toEqual([])
})

test('accepts jobs with any broker, connection or options', async () => {
  const options: BrokerTaskOptions = JSON.parse('{"exchange":"x"}')
  const task = taskThat(() => 'done', { ...options, connection: 'nowhere://' })
  await using queue = createTestQueue({ tasks: [task] })
  await task.submit(1, { server: 'elsewhere', connection: 'also://nowhere', queue: 'other', ...options })
  await task.submitMany([2, 3], { priority: 'high' })
  await queue.run()
  expect(queue.jobs(task).map(({ data, state }) => [data, state])).toEqual([
    [1, 'done'],
    [2, 'done'],
    [3, 'done'],
  ])
  expect(queue.jobs(task)[0]?.queue).toBe('other')
})

test('delays and backoffs use its clock', async () => {
  const failing = taskThat(
    () => {
      throw new Error('no')
    },
    { retries: { limit: 2, minDelayMs: 1000, maxDelayMs: 1500 } },
  )
  await using queue = createTestQueue({ tasks: [failing] })
  await failing.submit(1, { delayMs: 60_000 })
  await queue.run()
  expect(queue.jobs()).toMatchObject([{ state: 'waiting', attempts: 0, dueAtMs: queue.clock.now() + 60_000 }])
  await queue.advance(59_999)
  expect(queue.jobs()).toMatchObject([{ attempts: 0 }])
  await queue.advance(1)
  const [once] = queue.jobs()
  expect(once).toMatchObject({ state: 'waiting', attempts: 1, errors: [{ message: 'no' }] })
  expect((once?.dueAtMs ?? 0) - queue.clock.now()).toBeLessThanOrEqual(1000)
  await queue.advance(2500)
  expect(queue.jobs()).toMatchObject([
    { state: 'dead', attempts: 3, reason: 'ZYQ_JOB_FAILED: Error: no', errors: [{}, {}, {}], result: undefined },
  ])
})

test('a postponed run counts neither as an attempt nor as an error', async () => {
  let isReady = false
  const task = taskThat(() => {
    if (!isReady) throw new Postpone({ delayMs: 1_000 })
  })
  await using queue = createTestQueue({ tasks: [task] })
  await task.submit(1)
  await queue.run()
  expect(queue.jobs(task)).toMatchObject([{ state: 'waiting', attempts: 0, errors: [] }])
  isReady = true
  await queue.advance(1_000)
  expect(queue.jobs(task)).toMatchObject([{ state: 'done', attempts: 1, errors: [] }])
})

test('60 jobs for a service that accepts 5 calls per second all succeed: a postponement uses no retry', async () => {
  const calls = new Map<number, number>()
  const call = (): { status: number; retryAfterMs: number } => {
    const second = Math.floor(queue.clock.now() / 1_000)
    const made = calls.get(second) ?? 0
    if (made >= 5) return { status: 429, retryAfterMs: 1_000 }
    calls.set(second, made + 1)
    return { status: 200, retryAfterMs: 0 }
  }
  const task = taskThat(
    () => {
      const { status, retryAfterMs } = call()
      if (status === 429) throw new Postpone({ delayMs: retryAfterMs })
    },
    { retries: 3 },
  )
  await using queue = createTestQueue({ tasks: [task] })
  await task.submitMany(Array.from({ length: 60 }, (_, index) => index))
  await queue.advance(60_000)
  expect(queue.jobs(task).filter(({ state }) => state !== 'done')).toEqual([])
  expect(queue.jobs(task).every(({ attempts }) => attempts === 1)).toBe(true)
})

test('a job that is postponed again and again becomes a dead letter after thirty days, or after maxPostponeMs', async () => {
  const dayMs = 86_400_000
  const postpone = (): never => {
    throw new Postpone({ delayMs: dayMs })
  }
  const [byDefault, ofTwoDays] = [taskThat(postpone), taskThat(postpone, { maxPostponeMs: 2.5 * dayMs })]
  await using queue = createTestQueue({ tasks: [byDefault, ofTwoDays] })
  await byDefault.submit(1)
  await ofTwoDays.submit(1)
  const states = () => [byDefault, ofTwoDays].map((task) => queue.jobs(task)[0]?.state)
  await queue.advance(1.5 * dayMs)
  expect(states()).toEqual(['waiting', 'waiting'])
  await queue.advance(dayMs)
  expect(states()).toEqual(['waiting', 'dead'])
  await queue.advance(26 * dayMs)
  expect(states()).toEqual(['waiting', 'dead'])
  await queue.advance(3 * dayMs)
  expect(queue.jobs(byDefault)).toMatchObject([
    { state: 'dead', reason: expect.stringMatching(/^ZYQ_POSTPONE_LIMIT: /) },
  ])
})

test('each job runs at its own time', async () => {
  const moments: unknown[] = []
  const task = taskThat(({ data }) => moments.push([data, queue.clock.now() - start]))
  await using queue = createTestQueue({ tasks: [task] })
  const start = queue.clock.now()
  for (const delayMs of [30, 10, 20.5]) await task.submit(delayMs, { delayMs })
  await queue.advance(100)
  expect(moments).toEqual([
    [10, 10],
    [20.5, 21],
    [30, 30],
  ])
  expect(queue.clock.now() - start).toBe(100)
})

test('runs jobs that handlers submit, with and without await', async () => {
  const leaf = taskThat(() => 'leaf')
  const root = taskThat(async () => {
    await leaf.submit('awaited')
    void leaf.submit('not awaited')
  })
  await using queue = createTestQueue({ tasks: [root, leaf] })
  void root.submit(1)
  await queue.run()
  expect(queue.jobs(leaf).map(({ state }) => state)).toEqual(['done', 'done'])
})

test('Discard, Retry, schemas and middleware work as in a worker', async () => {
  const task = taskThat(
    ({ data, attempt }) => {
      if (data === 'discard') throw new Discard()
      if (attempt === 1) throw new Retry({ delayMs: 500 })
      return data
    },
    { data: z.string().min(3) },
  )
  const seen = vi.fn()
  await using queue = createTestQueue({ tasks: [task], middleware: [(_context, next) => (seen(), next())] })
  await expect(task.submit('x')).rejects.toMatchObject({ code: 'ZYQ_VALIDATION' })
  await task.submit(['discard', 'retried'], { batch: true })
  await queue.run()
  expect(queue.jobs()).toMatchObject([
    { state: 'done', attempts: 1 },
    { state: 'waiting', attempts: 1 },
  ])
  await queue.advance(500)
  expect(queue.jobs()[1]).toMatchObject({ state: 'done', attempts: 2, result: 'retried' })
  expect(seen).toHaveBeenCalledTimes(3)
})

test('close returns the tasks to their brokers; a task can be in one test queue only', async () => {
  const broker = scripted()
  const task = taskThat(() => 1, { server: broker })
  const other = taskThat(() => 1, { server: broker })
  const queue = createTestQueue({ tasks: [task] })
  expect(() => createTestQueue({ tasks: [other, task] })).toThrow(expect.objectContaining({ code: 'ZYQ_CONFIG' }))
  await other.submit(1)
  await queue.close()
  await queue.close()
  await task.submit(1)
  expect(broker.store.queues().map(({ name }) => name)).toEqual([other.name, task.name])
  await using _again = createTestQueue({ tasks: [task, other] })
})

test('concurrent runs of 1,000 jobs run one after the other', async () => {
  let running = 0
  const task = taskThat(async () => {
    expect(++running).toBe(1)
    await Promise.resolve()
    running--
  })
  await using queue = createTestQueue({ tasks: [task] })
  await task.submitMany(Array.from({ length: 1000 }, (_, index) => index))
  void queue.run()
  await queue.advance(0)
  expect(queue.jobs().filter(({ state }) => state === 'done')).toHaveLength(1000)
})

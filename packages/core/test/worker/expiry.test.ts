import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { silentLogger } from '../../src/logger.ts'
import { Postpone, Retry } from '../../src/middleware/signals.ts'
import { producers } from '../../src/producer/producers.ts'
import { Task } from '../../src/tasks/task.ts'
import { createTestQueue } from '../../src/testing/index.ts'
import { Execution } from '../../src/worker/execution.ts'
import type { Job } from '../../src/worker/job.ts'
import { gate, uniqueName, until } from '../support.ts'
import { setUp } from './set-up.ts'

afterEach(() => producers.close())

function taskThat(run: (job: Job) => unknown, options: ConstructorParameters<typeof Task>[1] = {}) {
  return new Task(uniqueName(), { server: 'nowhere', ...options }, { run: (_worker, job) => run(job) })
}

test('a job that is older than expiresMs is deleted without a run, and the others run', async () => {
  const ran: unknown[] = []
  const task = taskThat(({ data }) => ran.push(data))
  await using queue = createTestQueue({ tasks: [task] })
  await task.submit('short', { expiresMs: 1_000 })
  await task.submit('long', { expiresMs: 60_000 })
  await task.submit('without')
  await queue.clock.advance(1_000)
  await queue.run()
  expect(ran).toEqual(['long', 'without'])
  expect(queue.jobs(task).map(({ state, attempts }) => [state, attempts])).toEqual([
    ['expired', 0],
    ['done', 1],
    ['done', 1],
  ])
})

test.each([
  ['retry', () => new Retry({ delayMs: 5_000 })],
  ['postponement', () => new Postpone({ delayMs: 5_000 })],
])('a job that would be too old after its %s expires at once', async (_what, thrown) => {
  const task = taskThat(() => Promise.reject(thrown()))
  await using queue = createTestQueue({ tasks: [task] })
  await task.submit('expires', { expiresMs: 4_000 })
  await task.submit('waits', { expiresMs: 3_600_000 })
  await queue.run()
  expect(queue.jobs(task).map(({ state }) => state)).toEqual(['expired', 'waiting'])
})

test('a worker logs, counts and reports an expired job, also one that expires while it waits for its turn', async () => {
  const events: unknown[] = []
  const note = (event: unknown): unknown => events.push(event)
  subscribe('zyqueue.job', note)
  onTestFinished(() => void unsubscribe('zyqueue.job', note))
  const release = gate()
  const ran: unknown[] = []
  const { task, worker, logger, stats } = setUp({}, async ({ data }) => (ran.push(data), release.opened), {
    concurrency: 1,
    prefetch: 10,
  })
  await worker.start()
  await task.submit(1)
  await until('the first job runs', () => worker.status.running === 1)
  const { id } = await task.submit(2, { expiresMs: 300 })
  const since = Date.now()
  await until('the second job is received', () => stats().active === 2 || worker.status.expired === 1)
  await until('it is too old', () => Date.now() > since + 300)
  release.open()
  await until('it has ended', () => worker.status.expired === 1)
  await worker.drain()
  expect(ran).toEqual([1])
  expect(worker.status).toMatchObject({ done: 1, expired: 1 })
  expect(stats()).toMatchObject({ ready: 0, delayed: 0, active: 0, dead: 0 })
  const error = expect.objectContaining({ code: 'ZYQ_JOB_EXPIRED' })
  expect(events).toContainEqual({
    task: task.name,
    queue: task.queue,
    id,
    attempt: 0,
    durationMs: 0,
    delayMs: 0,
    end: 'expired',
    error,
  })
  expect(logger.lines).toContainEqual({
    level: 'info',
    fields: { task: task.name, queue: task.queue, job: id, outcome: 'expired' },
    message: expect.stringMatching(/^job expired: .*It was not run/),
  })
})

test('a job with a waiting caller fails with ZYQ_JOB_EXPIRED', () => {
  const execution = executionAt(2_000)
  const headers = { 'zyq-expires-at': '2000' }
  const opened = execution.open({ ...delivery, headers, foreground: true })
  expect(opened).toMatchObject({ outcome: { kind: 'reject', reason: expect.stringMatching(/^ZYQ_JOB_EXPIRED: /) } })
})

test.each(['', 'soon', '-1'])('a job whose time of expiry is %j does not expire', (header) => {
  expect(executionAt(9e12).open({ ...delivery, headers: { 'zyq-expires-at': header } })).toHaveProperty('job')
})

test('a dead letter has no time of expiry, so that an operator can requeue it', async () => {
  const execution = executionAt(1_000)
  const failed = execution.open({ ...delivery, headers: { 'zyq-expires-at': '2000', tenant: 'a' } })
  const outcome = 'job' in failed ? await execution.run(failed) : failed.outcome
  const undecodable = { ...delivery, headers: { 'zyq-expires-at': '2000' }, undecodable: 'no JSON' }
  const refused = execution.open(undecodable)
  expect(outcome).toMatchObject({ kind: 'reject', headers: { tenant: 'a' } })
  for (const dead of [outcome, 'outcome' in refused ? refused.outcome : undefined]) {
    expect(dead).toMatchObject({ kind: 'reject' })
    expect(dead).not.toHaveProperty('headers.zyq-expires-at')
  }
})

const delivery = { id: 'j', queue: 't', body: Buffer.from('1'), headers: {}, priority: 4, deliveryCount: 0 }

function executionAt(nowMs: number): Execution {
  const task = new Task('t', { retries: 0 }, { run: () => Promise.reject(new Error('no')) })
  return new Execution([task], { id: 'w', name: 'w', log: silentLogger }, [], () => nowMs)
}

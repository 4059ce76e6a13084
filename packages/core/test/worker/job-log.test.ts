import { afterEach, expect, onTestFinished, test } from 'vitest'
import { createLogger, type LogLevel } from '../../src/logger.ts'
import { Discard, Postpone, Reject, Retry } from '../../src/middleware/signals.ts'
import { producers } from '../../src/producer/producers.ts'
import type { TaskOptions } from '../../src/tasks/options.ts'
import { Task } from '../../src/tasks/task.ts'
import type { Job, WorkerContext } from '../../src/worker/job.ts'
import { createWorker } from '../../src/worker/worker.ts'
import { scripted, uniqueName, until } from '../support.ts'

afterEach(() => producers.close())

async function working(
  run: (worker: WorkerContext, job: Job) => unknown,
  options: TaskOptions = {},
  level: LogLevel = 'debug',
) {
  const lines: { readonly [field: string]: unknown }[] = []
  const logger = createLogger({ level, destination: { write: (line) => lines.push(JSON.parse(line)) } })
  const task = new Task<number>(uniqueName(), { server: scripted(), retries: 0, ...options }, { run })
  const worker = createWorker({ tasks: [task], logger })
  onTestFinished(() => worker.close())
  await worker.start()
  return { task, worker, lines }
}

test('worker.log names task, job and attempt, in the handler and in middleware, and a field does not replace them', async () => {
  const { task, worker, lines } = await working(
    ({ log, id, name }, job) => {
      log.info('in the handler')
      log.child({ step: 1 }).info({ job: 'mine', task: job.task, id, name }, 'step')
    },
    {
      middleware: [
        async (context, next) => {
          context.worker.log.info({ before: true }, 'in middleware')
          return next()
        },
      ],
    },
    'info',
  )
  const { id } = await task.submit(1)
  await until('it has ended', () => worker.status.jobs === 1)
  const own = { level: 'info', task: task.name, job: id, attempt: 1 }
  const end = { ...own, msg: 'job done', outcome: 'done', durationMs: expect.any(Number) }
  const time = expect.any(Number)
  expect(lines).toEqual([
    { ...own, time, msg: 'in middleware', before: true },
    { ...own, time, msg: 'in the handler' },
    { ...own, time, msg: 'step', step: 1, job_: 'mine', id: worker.id, name: 'worker' },
    { ...end, time },
  ])
})

test('each end of an attempt is one line, with its outcome and duration', async () => {
  const failure = new Error('not today')
  const ways: Readonly<Record<number, () => unknown>> = {
    1: () => 'result',
    2: () => Promise.reject(new Discard('too old')),
    3: () => Promise.reject(new Postpone({ delayMs: 60_000 })),
    4: () => Promise.reject(new Retry({ delayMs: 60_000, cause: failure })),
    5: () => Promise.reject(new Retry({ delayMs: 60_000 })),
    6: () => Promise.reject(new Reject('no', { cause: failure })),
    // An object that looks like an error, with a secret.
    7: () => {
      throw Object.assign(Object.create(null), { message: 'odd', token: 'sesame', toJSON: () => 'sesame' })
    },
  }
  const { task, worker, lines } = await working((_worker, { data }) => ways[Number(data)]?.(), { retries: 1 })
  await task.submitMany([1, 2, 3, 4, 5, 6])
  const { id: odd } = await task.submit(7, { retries: 0 })
  await until('all have ended', () => lines.filter(({ outcome }) => outcome !== undefined).length === 7)
  const of = (outcome: string, msg: string, fields: object = {}) =>
    expect.objectContaining({ outcome, msg, task: task.name, attempt: 1, durationMs: expect.any(Number), ...fields })
  expect(lines).toEqual(
    expect.arrayContaining([
      of('done', 'job done', { level: 'info' }),
      of('discarded', 'job discarded: too old', { level: 'info' }),
      of('postponed', 'job postponed', { level: 'debug' }),
      of('retried', 'attempt failed, retrying: not today', { level: 'info', delayMs: 60_000 }),
      of('retried', 'attempt failed, retrying', { level: 'info', delayMs: 60_000 }),
      of('dead', 'job failed, moved to the dead letters', {
        level: 'error',
        err: expect.objectContaining({ type: 'Reject', cause: expect.objectContaining({ message: 'not today' }) }),
      }),
      of('dead', 'job failed, moved to the dead letters', { job: odd, err: { message: 'odd' } }),
    ]),
  )
  expect(worker.status).toMatchObject({ jobs: 4, dead: 2, done: 7 })
  await worker.drain()
  expect(lines.at(-1)).toMatchObject({ level: 'info', msg: 'stopped after 4 jobs, 2 dead', jobs: 4, dead: 2 })
})

test('a refused job is one line', async () => {
  const { task, lines } = await working(() => {})
  const other = new Task<number>('no-such-task', { server: task.options.server ?? 'none', queue: task.queue })
  const { id } = await other.submit(1)
  await until('it has ended', () => lines.length > 0)
  expect(lines).toMatchObject([
    {
      level: 'error',
      queue: task.queue,
      job: id,
      outcome: 'dead',
      msg: expect.stringMatching(/^job refused, moved to the dead letters: ZYQ_TASK_UNKNOWN/),
    },
  ])
})

test('a job that was given back has no end', async () => {
  let started = false
  const { task, worker, lines } = await working(async (_worker, { signal }) => {
    started = true
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    throw new Error('aborted')
  })
  await task.submit(1)
  await until('it runs', () => started)
  await worker.close()
  expect(lines.filter(({ outcome }) => outcome !== undefined)).toEqual([])
})

test('below the level, the end of a job writes nothing', async () => {
  const { task, worker, lines } = await working(() => {}, {}, 'warn')
  await task.submit(1)
  await until('it has ended', () => worker.status.jobs === 1)
  expect(lines).toEqual([])
})

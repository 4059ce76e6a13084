import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { silentLogger } from '../src/logger.ts'
import { Discard, Postpone, Reject, Retry } from '../src/middleware/signals.ts'
import { producers } from '../src/producer/producers.ts'
import type { TaskOptions } from '../src/tasks/options.ts'
import { Task } from '../src/tasks/task.ts'
import type { Job } from '../src/worker/job.ts'
import { createWorker } from '../src/worker/worker.ts'
import { scripted, uniqueName, until } from './support.ts'

afterEach(() => producers.close())

async function working(run: (job: Job) => unknown, options: TaskOptions = {}) {
  const task = new Task<number>(
    uniqueName(),
    { server: scripted(), retries: 0, ...options },
    { run: (_worker, job) => run(job) },
  )
  const worker = createWorker({ tasks: [task], logger: silentLogger })
  onTestFinished(() => worker.close())
  await worker.start()
  return { task, worker }
}

/** Collects the messages of a channel until the test ends. */
function messagesOf(channel: string): unknown[] {
  const messages: unknown[] = []
  const note = (message: unknown): unknown => messages.push(message)
  subscribe(channel, note)
  onTestFinished(() => void unsubscribe(channel, note))
  return messages
}

test('zyqueue.job reports the end of each attempt', async () => {
  const events = messagesOf('zyqueue.job')
  const failure = new Error('not today')
  const ways: Readonly<Record<number, () => unknown>> = {
    1: () => 'result',
    2: () => Promise.reject(new Discard()),
    3: () => Promise.reject(new Postpone({ delayMs: 60_000 })),
    4: () => Promise.reject(new Retry({ delayMs: 60_000, cause: failure })),
    5: () => Promise.reject(new Reject('no')),
  }
  const { task } = await working(({ data }) => ways[Number(data)]?.(), { retries: 1 })
  const handles = await task.submit([1, 2, 3, 4, 5], { batch: true })
  await until('all have ended', () => events.length === 5)
  const at = (index: number) => ({ task: task.name, queue: task.queue, id: handles[index]?.id, attempt: 1 })
  expect(events).toEqual(
    expect.arrayContaining([
      { ...at(0), end: 'done', durationMs: expect.any(Number), delayMs: 0, error: undefined },
      { ...at(1), end: 'discarded', durationMs: expect.any(Number), delayMs: 0, error: undefined },
      { ...at(2), end: 'postponed', durationMs: expect.any(Number), delayMs: expect.any(Number), error: undefined },
      { ...at(3), end: 'retried', durationMs: expect.any(Number), delayMs: 60_000, error: failure },
      { ...at(4), end: 'dead', durationMs: expect.any(Number), delayMs: 0, error: expect.any(Reject) },
    ]),
  )
})

test('zyqueue.job reports a job that is refused without an attempt', async () => {
  const events = messagesOf('zyqueue.job')
  const { task } = await working(() => {})
  const other = new Task<number>('no-such-task', { server: task.options.server ?? 'none', queue: task.queue })
  const { id } = await other.submit(1)
  await until('it has ended', () => events.length === 1)
  const error = expect.stringMatching(/^ZYQ_TASK_UNKNOWN/)
  expect(events).toMatchObject([{ end: 'dead', id, task: undefined, attempt: 0, durationMs: 0, error }])
})

test('zyqueue.worker reports each state of a worker', async () => {
  const events = messagesOf('zyqueue.worker')
  const { worker } = await working(() => {})
  await worker.drain()
  const { id } = worker
  const states = ['starting', 'running', 'draining', 'closed']
  expect(events).toEqual(states.map((state) => ({ worker: id, name: 'worker', state })))
})

test('a subscriber of zyqueue.submit adds headers, which arrive, and zyqueue.run traces the attempt', async () => {
  const steps: string[] = []
  const submits = tracingChannel('zyqueue.submit')
  const onSubmit = {
    start(message: unknown) {
      const { headers, ...trace } = Object(message)
      headers.traceparent = '00-1-2-01'
      steps.push(`submit ${trace.jobs} to ${trace.broker}`)
    },
    asyncEnd: () => void steps.push('stored'),
  }
  const onRun = {
    start: (message: unknown) => void steps.push(`run ${Object(message).headers.traceparent}`),
    error: (message: unknown) => void steps.push(`failed: ${Object(message).error.message}`),
    asyncEnd: () => void steps.push('ended'),
  }
  const runs = tracingChannel('zyqueue.run')
  submits.subscribe({ ...unheard, ...onSubmit })
  runs.subscribe({ ...unheard, ...onRun })
  onTestFinished(() => {
    submits.unsubscribe({ ...unheard, ...onSubmit })
    runs.unsubscribe({ ...unheard, ...onRun })
  })
  const { task } = await working(() => Promise.reject(new Error('no')))
  await task.submit(1)
  await until('it has ended', () => steps.includes('ended'))
  expect(steps.toSorted()).toEqual(['ended', 'failed: no', 'run 00-1-2-01', 'stored', 'submit 1 to scripted'])
})

test('an invalid header rejects the submit', async () => {
  const submits = tracingChannel('zyqueue.submit')
  const subscribers = { ...unheard, start: (message: unknown) => void (Object(message).headers['zyq-task'] = 'x') }
  submits.subscribe(subscribers)
  onTestFinished(() => {
    submits.unsubscribe(subscribers)
  })
  const { task } = await working(() => {})
  await expect(task.submit(1)).rejects.toMatchObject({ code: 'ZYQ_CONFIG' })
})

const nothing = (): void => {}
const unheard = { start: nothing, end: nothing, asyncStart: nothing, asyncEnd: nothing, error: nothing }

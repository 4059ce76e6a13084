import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { Delivery } from '../../src/contract/index.ts'
import { silentLogger } from '../../src/logger.ts'
import { NO_HEADERS, withHeaders } from '../../src/messages/envelope.ts'
import { Discard, Postpone, Reject, Retry } from '../../src/middleware/signals.ts'
import { Task } from '../../src/tasks/task.ts'
import { Execution, type Refusal, type Work } from '../../src/worker/execution.ts'
import type { Job } from '../../src/worker/job.ts'

type Options = ConstructorParameters<typeof Task>[1]

function task(name: string, options: Options = {}, run: (job: Job) => unknown = () => name) {
  return new Task(name, options, { run: (_worker, job) => run(job) })
}

function executionOf(...tasks: Task[]) {
  return new Execution(tasks, { id: 'w', name: 'w', log: silentLogger }, [])
}

function delivery(queue: string, headers: Record<string, string> = {}, fields: Partial<Delivery> = {}): Delivery {
  const body = Buffer.from('1')
  return { id: 'j', queue, body, headers: withHeaders(NO_HEADERS, headers), priority: 4, deliveryCount: 0, ...fields }
}

function work(opened: Work | Refusal): Work {
  return 'outcome' in opened ? expect.fail(JSON.stringify(opened)) : opened
}

async function outcomeOf(run: (job: Job) => unknown, headers: Record<string, string> = {}, options: Options = {}) {
  const execution = executionOf(task('t', options, run))
  return execution.run(work(execution.open(delivery('t', headers))))
}

test('the task comes from the header, else from the queue if it has one task or a task of its name', () => {
  const execution = executionOf(
    task('a', { queue: 'shared' }),
    task('b', { queue: 'shared' }),
    task('own'),
    task('alias', { queue: 'own' }),
    task('c', { queue: 'single' }),
  )
  const nameFor = (queue: string, headers: Record<string, string> = {}) => {
    const opened = execution.open(delivery(queue, headers))
    return 'outcome' in opened ? opened.outcome.kind : opened.task.name
  }
  expect(nameFor('shared', { 'zyq-task': 'b' })).toBe('b')
  expect(nameFor('single')).toBe('c')
  expect(nameFor('own')).toBe('own')
  expect(nameFor('own', { 'zyq-task': 'alias' })).toBe('alias')
  expect(nameFor('shared')).toBe('reject')
  expect(nameFor('nobody')).toBe('reject')
  expect(execution.open(delivery('own', { 'zyq-task': 'gone' }))).toMatchObject({
    outcome: {
      kind: 'reject',
      reason: expect.stringMatching(/^ZYQ_TASK_UNKNOWN: .*"gone"/),
    },
  })
})

test('header values that are not strings are not stored', async () => {
  const spoil = (job: Job): never => {
    Object.assign(job.headers, { count: 5n, when: new Date(), note: 'kept' })
    throw new Error('no')
  }
  for (const retries of [0, 1]) {
    const outcome = await outcomeOf(spoil, { own: 'stays' }, { retries })
    expect(outcome).toMatchObject({ headers: { own: 'stays', note: 'kept' } })
    expect('headers' in outcome && Object.values(outcome.headers ?? {}).every((text) => typeof text === 'string')).toBe(
      true,
    )
  }
})

test('data that does not decode is refused with a reason', () => {
  const execution = executionOf(task('t'))
  for (const opened of [
    execution.open(delivery('t', {}, { body: Buffer.from('{') })),
    execution.open(delivery('t', { 'zyq-attempts': 'many' })),
    execution.open(delivery('t', { 'zyq-attempts': '1e12' })),
    execution.open(delivery('t', { 'zyq-attempts': '1000000000000' })),
    execution.open(delivery('t', { 'zyq-kills': '1000000000000' })),
  ]) {
    expect(opened).toMatchObject({ outcome: { kind: 'reject', reason: expect.stringMatching(/^ZYQ_DECODE: /) } })
  }
  // The bytes are readable, but only the sender knows their meaning.
  expect(execution.open(delivery('t', {}, { undecodable: 'the content type is image/png' }))).toMatchObject({
    outcome: {
      kind: 'reject',
      reason: 'ZYQ_DECODE: the content type is image/png',
    },
  })
})

test('an undecodable message is refused with its reason, also in a queue of several tasks', () => {
  const execution = executionOf(task('a', { queue: 'q' }), task('b', { queue: 'q' }))
  expect(execution.open(delivery('q', {}, { undecodable: 'it is no job of ZyQueue' }))).toMatchObject({
    outcome: {
      kind: 'reject',
      reason: 'ZYQ_DECODE: it is no job of ZyQueue',
    },
  })
})

test.each([
  ['only jobs that ran count a lost delivery', false, 1, [false]],
  ['only jobs that ran count a lost delivery', false, 2, [false, true]],
  ['only jobs that ran count a lost delivery', false, 5, [false, false, false, false, true]],
  ['all held jobs count a lost delivery', true, 1, [false]],
  ['all held jobs count a lost delivery', true, 2, [false, true]],
  ['all held jobs count a lost delivery', true, 4, [false, false, true, true]],
  ['all held jobs count a lost delivery', true, 5, [false, false, false, true, true]],
])('if %s (%s), of %i deliveries a job has these alone: %j', (_, countsAllHeld, maxDeliveries, alone) => {
  const execution = executionOf(task('t', { maxDeliveries }))
  const isAlone = (deliveryCount: number): boolean =>
    work(execution.open(delivery('t', {}, { deliveryCount }), { countsAllHeld })).alone
  expect(alone.map((__, deliveryCount) => isAlone(deliveryCount))).toEqual(alone)
})

test('a job is poison if too many deliveries were lost, and the reason does not say that its workers died', () => {
  const execution = executionOf(task('t', { maxDeliveries: 3 }))
  const opened = (deliveryCount: number, headers = {}) => execution.open(delivery('t', headers, { deliveryCount }))
  expect(opened(3)).toMatchObject({
    task: { name: 't' },
    outcome: { kind: 'reject', reason: expect.stringMatching(/^ZYQ_JOB_POISON: 3 deliveries.* or .*message timeout/) },
  })
  expect(work(opened(4, { 'zyq-kills': '2' })).alone).toBe(true)
  expect(opened(4, { 'zyq-kills': '1' })).toMatchObject({ outcome: { kind: 'reject' } })
})

test('a kill by the supervisor counts a failed attempt and no lost delivery', async () => {
  const ran: unknown[] = []
  const execution = executionOf(task('t', { maxDeliveries: 1 }, (job) => ran.push(job)))
  const opened = work(execution.open(delivery('t', { 'zyq-killed': 'ZYQ_JOB_TIMEOUT' }, { deliveryCount: 1 })))
  expect(opened.alone).toBe(false)
  const outcome = await execution.run(opened)
  expect(ran).toEqual([])
  expect(outcome).toMatchObject({ kind: 'release' })
  if (outcome.kind !== 'release') return
  expect({ ...outcome.headers }).toEqual({
    'zyq-attempts': '1',
    'zyq-kills': '1',
    'zyq-error': expect.stringMatching(/hard timeout/),
  })
  const again = work(execution.open(delivery('t', { ...outcome.headers }, { deliveryCount: 1 })))
  expect(again.job.attempt).toBe(2)
  expect(await execution.run(again)).toMatchObject({ kind: 'ack' })
  expect(ran).toHaveLength(1)
})

test('a kill because of one of several jobs counts for none, and each runs alone next', async () => {
  const execution = executionOf(task('t', { maxDeliveries: 1, retries: 0 }, () => 'done'))
  const alone = work(execution.open(delivery('t', { 'zyq-run-alone': 'ZYQ_JOB_TIMEOUT' }, { deliveryCount: 1 })))
  expect(alone.alone).toBe(true)
  expect(await execution.run(alone)).toMatchObject({ kind: 'ack' })
  const failing = executionOf(task('u', { maxDeliveries: 1, retries: 1 }, () => Promise.reject(new Error('no'))))
  const again = work(failing.open(delivery('u', { 'zyq-run-alone': 'ZYQ_JOB_TIMEOUT' }, { deliveryCount: 1 })))
  const outcome = await failing.run(again)
  expect(outcome).toMatchObject({ kind: 'release', headers: { 'zyq-attempts': '1', 'zyq-kills': '1' } })
  if (outcome.kind === 'release') expect(outcome.headers).not.toHaveProperty('zyq-run-alone')
  const culprit = { 'zyq-run-alone': 'ZYQ_JOB_TIMEOUT', 'zyq-killed': 'ZYQ_JOB_TIMEOUT' }
  const killed = await execution.run(work(execution.open(delivery('t', culprit, { deliveryCount: 2 }))))
  expect(killed).toMatchObject({ kind: 'reject', reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT/) })
})

test('a kill with no retries left is a dead letter', async () => {
  const outcome = await outcomeOf(() => 1, { 'zyq-killed': 'ZYQ_JOB_TIMEOUT' }, { retries: 0 })
  expect(outcome).toMatchObject({ kind: 'reject', reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT: /) })
})

test('after a failed attempt the job carries its count and its error, and keeps its other headers', async () => {
  const outcome = await outcomeOf(
    () => {
      throw new TypeError('no\n such file')
    },
    { 'zyq-attempts': '2', tenant: 'a', 'zyq-retries': '9' },
  )
  if (outcome.kind !== 'release') return expect.fail(outcome.kind)
  expect({ ...outcome.headers }).toEqual({
    'zyq-attempts': '3',
    'zyq-error': 'TypeError: no such file',
    'zyq-retries': '9',
    tenant: 'a',
  })
})

test('a dead letter keeps its attempt count in another header, so that a requeued job starts again', async () => {
  const outcome = await outcomeOf(
    () => {
      throw new Error('no')
    },
    { 'zyq-attempts': '3', 'zyq-kills': '1', tenant: 'a' },
  )
  if (outcome.kind !== 'reject') return expect.fail(outcome.kind)
  expect(outcome.reason).toBe('ZYQ_JOB_FAILED: Error: no')
  expect({ ...outcome.headers }).toEqual({
    'zyq-attempts-made': '4',
    'zyq-error': 'Error: no',
    'zyq-failure': expect.any(String),
    tenant: 'a',
  })
})

test('any thenable is awaited', async () => {
  const rejecting = new Map([['then', (_: unknown, reject: (error: Error) => void): void => reject(new Error('no'))]])
  for (const target of [{}, () => 1]) {
    const thenable = Object.assign(target, Object.fromEntries(rejecting))
    expect(await outcomeOf(() => thenable)).toMatchObject({ kind: 'release' })
  }
})

test('Discard ends the job, Reject and invalid data dead-letter it, Retry releases it', async () => {
  const discard = () => {
    throw new Discard()
  }
  expect(await outcomeOf(discard)).toEqual({
    kind: 'ack',
    end: 'discarded',
    reason: 'The handler discarded the job',
  })
  const reject = () => {
    throw new Reject('no such customer', { cause: new Error('404') })
  }
  expect(await outcomeOf(reject, {}, { retries: 3 })).toMatchObject({
    kind: 'reject',
    reason: 'ZYQ_JOB_FAILED: Reject: no such customer',
  })
  const again = () => {
    throw new Retry({ delayMs: 42 })
  }
  const outcome = await outcomeOf(again, { 'zyq-error': 'old' })
  expect(outcome).toMatchObject({ kind: 'release', delayMs: 42 })
  expect('headers' in outcome && { ...outcome.headers }).toEqual({ 'zyq-attempts': '1' })
  expect(await outcomeOf(() => 1, {}, { data: z.string() })).toMatchObject({
    kind: 'reject',
    reason: expect.stringMatching(/^ZYQ_VALIDATION: /),
  })
})

describe('a job that its handler postpones', () => {
  const dayMs = 86_400_000
  const postponing = (delayMs: number, options: Options = {}) =>
    executionOf(task('t', options, () => Promise.reject(new Postpone({ delayMs }))))

  test('is released for later and counts no attempt', async () => {
    const execution = postponing(60_000, { retries: 0 })
    const outcome = await execution.run(work(execution.open(delivery('t', { 'zyq-attempts': '2' }))))
    expect(outcome).toMatchObject({ kind: 'release', headers: { 'zyq-attempts': '2' } })
    expect(outcome.kind === 'release' && outcome.delayMs).toSatisfy((ms: number) => ms > 59_000 && ms <= 60_000)
    const since = outcome.kind === 'release' ? Number(outcome.headers?.['zyq-postponed-since']) : 0
    expect(Date.now() - since).toBeLessThan(60_000)
  })

  test('keeps the time of the first postponement, and is dead after maxPostponeMs', async () => {
    const execution = postponing(1_000, { maxPostponeMs: dayMs })
    const since = String(Date.now() - dayMs + 10_000)
    const again = await execution.run(work(execution.open(delivery('t', { 'zyq-postponed-since': since }))))
    expect(again).toMatchObject({ kind: 'release', headers: { 'zyq-postponed-since': since } })
    const long = String(Date.now() - dayMs)
    const dead = await execution.run(work(execution.open(delivery('t', { 'zyq-postponed-since': long }))))
    expect(dead).toMatchObject({ kind: 'reject', reason: expect.stringMatching(/^ZYQ_POSTPONE_LIMIT: /) })
    expect(dead.kind === 'reject' && 'zyq-postponed-since' in dead.headers).toBe(false)
  })

  test('fails if its broker has no delays, or if its caller waits', async () => {
    const execution = postponing(1_000, { retries: 0 })
    const undelayed = await execution.run(work(execution.open(delivery('t'), { canDelay: false })))
    expect(undelayed).toMatchObject({ kind: 'reject', reason: expect.stringContaining('no delays') })
    const called = await execution.run(work(execution.open(delivery('t', {}, { foreground: true }))))
    expect(called).toMatchObject({ kind: 'reject', reason: expect.stringContaining('waiting caller') })
  })

  test.each([{}, { delayMs: Number.NaN }, { delayMs: 5n }, { readyAtMs: new Date('?') }, { delayMs: 1, readyAtMs: 1 }])(
    'needs an instant: %o',
    (options) => {
      const make = (): unknown => Reflect.construct(Postpone, [options])
      expect(make).toThrow(expect.objectContaining({ code: 'ZYQ_CONFIG' }))
    },
  )

  test('may name a time in the past', () => {
    expect(new Postpone({ readyAtMs: new Date(1) }).readyAtMs).toBe(1)
  })
})

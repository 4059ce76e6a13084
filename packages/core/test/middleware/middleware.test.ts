import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { ABORT } from '../../src/internals.ts'
import { CodecError, JobError } from '../../src/errors.ts'
import { silentLogger } from '../../src/logger.ts'
import { NO_HEADERS, withHeaders } from '../../src/messages/envelope.ts'
import {
  compose,
  type Middleware,
  type RunMiddleware,
  type MiddlewareContext,
} from '../../src/middleware/middleware.ts'
import { retry } from '../../src/middleware/retry.ts'
import { Discard, Reject, Retry } from '../../src/middleware/signals.ts'
import { producers } from '../../src/producer/producers.ts'
import { Task } from '../../src/tasks/task.ts'
import { scripted, uniqueName } from '../support.ts'
import { timeout } from '../../src/middleware/timeout.ts'
import { validate } from '../../src/middleware/validate.ts'
import { Job } from '../../src/worker/job.ts'
import { z } from 'zod'

function context(fields: { attempt?: number; data?: unknown; retries?: string } = {}): MiddlewareContext {
  const { attempt = 1, data = null, retries } = fields
  const headers = withHeaders(NO_HEADERS, { 'zyq-retries': retries })
  const job = new Job({ id: 'j', task: 't', queue: 't', data, headers, attempt, deliveryCount: 0 })
  return { job, worker: { id: 'w', name: 'w', log: silentLogger } }
}

function fail(): never {
  throw new Error('do not touch')
}

const thrower = (thrown: unknown) => async (): Promise<never> => {
  throw thrown
}

async function thrownBy(middleware: RunMiddleware, at: MiddlewareContext, error: unknown): Promise<unknown> {
  return Promise.resolve(middleware(at, thrower(error))).then(
    () => expect.fail('it was to throw'),
    (thrown: unknown) => thrown,
  )
}

test('the first middleware is the outermost and gets the result or the failure', async () => {
  const order: string[] = []
  const named =
    (name: string): RunMiddleware =>
    async (_context, next) => {
      order.push(`${name} in`)
      try {
        return await next()
      } finally {
        order.push(`${name} out`)
      }
    }
  const run = compose([named('a'), named('b')], async () => (order.push('handler'), 'result'))
  expect(await run(context())).toBe('result')
  expect(order).toEqual(['a in', 'b in', 'handler', 'b out', 'a out'])
  await expect(compose([named('a')], thrower(new Error('no')))(context())).rejects.toThrow('no')
})

test('the bound of the retry delay doubles up to maxDelayMs', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 5_000 }),
      async (attempt, minDelayMs) => {
        const policy = retry({ limit: 100, minDelayMs, maxDelayMs: 60_000 })
        const cause = new Error('no')
        const signal = await thrownBy(policy, context({ attempt }), cause)
        if (!(signal instanceof Retry)) return expect.fail(String(signal))
        expect(signal.cause).toBe(cause)
        expect(signal.delayMs).toBeGreaterThanOrEqual(0)
        expect(signal.delayMs).toBeLessThanOrEqual(Math.min(60_000, minDelayMs * 2 ** (attempt - 1)))
      },
    ),
  )
})

test('the jitter uses its whole range', async () => {
  const policy = retry({ limit: 5, minDelayMs: 1000 })
  const delays: number[] = []
  for (let index = 0; index < 200; index++) {
    const signal = await thrownBy(policy, context(), new Error('no'))
    if (signal instanceof Retry) delays.push(signal.delayMs ?? -1)
  }
  expect(Math.min(...delays)).toBeLessThan(250)
  expect(Math.max(...delays)).toBeGreaterThan(750)
})

test('retries end at the limit of the task, or of the submission', async () => {
  const policy = retry({ limit: 2 })
  const error = new Error('no')
  expect(await thrownBy(policy, context({ attempt: 2 }), error)).toBeInstanceOf(Retry)
  expect(await thrownBy(policy, context({ attempt: 3 }), error)).toBe(error)
  expect(await thrownBy(policy, context({ attempt: 3, retries: '5' }), error)).toBeInstanceOf(Retry)
  expect(await thrownBy(policy, context({ attempt: 1, retries: '0' }), error)).toBe(error)
  expect(await thrownBy(policy, context({ attempt: 3 }), undefined)).toBe(undefined)
})

test('a Retry sets the delay; without retries left, its cause is the failure', async () => {
  const policy = retry({ limit: 1 })
  expect(await thrownBy(policy, context(), new Retry({ delayMs: 7 }))).toMatchObject({ delayMs: 7 })
  expect(await thrownBy(policy, context({ attempt: 2 }), new Retry({ cause: 'why' }))).toBe('why')
  expect(await thrownBy(policy, context({ attempt: 2 }), new Retry())).toMatchObject({ code: 'ZYQ_JOB_FAILED' })
})

/** Values that JavaScript compares like a number, or cannot compare. */
const unfit: readonly unknown[] = [
  -1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  1e15,
  5n,
  '5',
  new Date(5),
  null,
  Symbol('5'),
  [5],
  { valueOf: () => 5 },
  { valueOf: fail },
]

test('an invalid delay, policy or timeout throws at creation', () => {
  for (const value of unfit) {
    for (const make of [
      () => Reflect.construct(Retry, [{ delayMs: value }]),
      () => Reflect.apply(retry, undefined, [{ limit: value }]),
      () => Reflect.apply(retry, undefined, [{ limit: 1, minDelayMs: value }]),
      () => Reflect.apply(retry, undefined, [{ limit: 1, maxDelayMs: value }]),
      () => Reflect.apply(timeout, undefined, [value]),
    ]) {
      expect(make).toThrow(expect.objectContaining({ code: 'ZYQ_CONFIG' }))
    }
  }
  expect(() => retry({ limit: 1e9 })).toThrow(expect.objectContaining({ code: 'ZYQ_CONFIG' }))
})

test('a Retry with an invalid delay is a failure', async () => {
  const policy = retry({ limit: 1, minDelayMs: 1, maxDelayMs: 1 })
  const fault = expect.objectContaining({ code: 'ZYQ_CONFIG', message: expect.stringContaining('delayMs') })
  for (const value of unfit) {
    const changed = Object.defineProperty(new Retry(), 'delayMs', { value })
    expect(await thrownBy(policy, context(), changed)).toMatchObject({ name: 'Retry', delayMs: 1, cause: fault })
    expect(await thrownBy(policy, context({ attempt: 2 }), changed)).toEqual(fault)
  }
  const broken = Object.defineProperty(new Retry(), 'delayMs', { get: fail })
  expect(await thrownBy(policy, context(), broken)).toMatchObject({ delayMs: 1, cause: expect.any(Error) })
})

describe('a policy', () => {
  const network = Object.assign(new Error('reset'), { code: 'ECONNRESET' })
  const bug = new TypeError('x is undefined')

  test('decides with `when` whether to retry an error; a Retry does not ask it', async () => {
    const policy = retry({ limit: 2, when: (error) => !(error instanceof TypeError) })
    expect(await thrownBy(policy, context(), network)).toMatchObject({ name: 'Retry', cause: network })
    expect(await thrownBy(policy, context({ attempt: 3 }), network)).toBe(network)
    expect(await thrownBy(policy, context(), bug)).toBe(bug)
    expect(await thrownBy(policy, context(), new Retry({ cause: bug }))).toMatchObject({ name: 'Retry', cause: bug })
  })

  test('waits for delayMs, a number or a function of attempt and error', async () => {
    expect(await thrownBy(retry({ limit: 1, delayMs: 7.5 }), context(), bug)).toMatchObject({ delayMs: 8 })
    expect(await thrownBy(retry({ limit: 1, delayMs: 0 }), context(), bug)).toMatchObject({ delayMs: 0 })
    const delayMs = vi.fn((attempt: number, error: unknown) => (error === network ? attempt * 100 : 5))
    const policy = retry({ limit: 2, delayMs })
    expect(await thrownBy(policy, context({ attempt: 2 }), network)).toMatchObject({ delayMs: 200 })
    expect(await thrownBy(policy, context(), bug)).toMatchObject({ delayMs: 5 })
    expect(await thrownBy(policy, context(), new Retry({ cause: network }))).toMatchObject({ delayMs: 100 })
    expect(await thrownBy(policy, context(), new Retry({ delayMs: 3 }))).toMatchObject({ delayMs: 3 })
    delayMs.mockClear()
    expect(await thrownBy(policy, context({ attempt: 3 }), bug)).toBe(bug)
    expect(delayMs).not.toHaveBeenCalled()
  })

  const faulty: readonly { readonly fault: string; readonly functions: object }[] = [
    { fault: 'when threw: do not touch', functions: { when: fail } },
    { fault: 'when must return true or false', functions: { when: async () => true } },
    { fault: 'delayMs threw: do not touch', functions: { delayMs: fail } },
    ...unfit.map((value) => ({ fault: 'delayMs must return', functions: { delayMs: () => value } })),
  ]

  test.each(faulty)('with a faulty function keeps the error of the handler: $fault', async ({ fault, functions }) => {
    const policy: RunMiddleware = Reflect.apply(retry, undefined, [{ limit: 1, ...functions }])
    const message = expect.stringMatching(new RegExp(`${fault}.*x is undefined`))
    expect(await thrownBy(policy, context(), bug)).toMatchObject({
      name: 'Retry',
      cause: { code: 'ZYQ_CONFIG', message, cause: bug },
    })
    expect(await thrownBy(policy, context({ attempt: 2 }), bug)).toBe(bug)
  })

  test.each([
    { limit: 1, when: true },
    { limit: 1, delayMs: -1 },
    { limit: 1, delayMs: '5' },
    { limit: 1, delayMs: 5, minDelayMs: 5 },
    { limit: 1, delayMs: () => 5, maxDelayMs: 5 },
  ])('is refused: %o', (policy) => {
    const options = { name: uniqueName(), retries: policy }
    expect(() => Reflect.apply(retry, undefined, [policy])).toThrow(expect.objectContaining({ code: 'ZYQ_CONFIG' }))
    expect(() => Reflect.construct(Task, [options.name, options])).toThrow(
      expect.objectContaining({ code: 'ZYQ_CONFIG', message: expect.stringMatching(/^queueJob: retries[.:]/) }),
    )
  })

  test('asks for delays of the broker only if it names one', async () => {
    const on = async (retries: object) => {
      const server = scripted({ capabilities: { delay: 'none' } })
      return new Task<number>(uniqueName(), { server, retries: { limit: 1, ...retries } }).submit(1)
    }
    await on({})
    await on({ when: () => true, delayMs: 0 })
    for (const waiting of [{ delayMs: 5 }, { delayMs: () => 0 }, { minDelayMs: 5 }, { maxDelayMs: 5 }]) {
      await expect(on(waiting)).rejects.toMatchObject({ code: 'ZYQ_UNSUPPORTED' })
    }
  })
})

test('an invalid retries header does not hide the failure', async () => {
  const error = new Error('the handler’s own')
  expect(await thrownBy(retry({ limit: 0 }), context({ retries: '1000000000' }), error)).toBe(error)
  expect(await thrownBy(retry({ limit: 1 }), context({ retries: 'many' }), error)).toMatchObject({ cause: error })
})

test('an error that a retry cannot fix is not retried', async () => {
  const policy = retry({ limit: 5 })
  for (const error of [new CodecError('ZYQ_VALIDATION', 'no'), new Discard(), new Reject()]) {
    expect(await thrownBy(policy, context(), error)).toBe(error)
  }
})

test('a late handler is aborted by its signal, and fails if it then throws', async () => {
  const at = context()
  const handler = () =>
    new Promise<void>((_resolve, reject) => {
      at.job.signal.addEventListener('abort', () => reject(new Error('stopped')))
    })
  await expect(timeout(5)(at, handler)).rejects.toMatchObject({
    code: 'ZYQ_JOB_TIMEOUT',
    cause: { message: 'stopped' },
  })
  expect(at.job.signal.reason).toBeInstanceOf(JobError)
})

test('a late handler that returns succeeds, and a handler in time is not aborted', async () => {
  const late = context()
  const untilAborted = () => new Promise((resolve) => late.job.signal.addEventListener('abort', () => resolve('well')))
  expect(await timeout(5)(late, untilAborted)).toBe('well')
  const soon = context()
  expect(await timeout(10_000)(soon, async () => 'soon')).toBe('soon')
  await expect(timeout(10_000)(soon, thrower(new Error('own')))).rejects.toThrow('own')
  expect(soon.job.signal.aborted).toBe(false)
})

test('job.data is the output of the schema, synchronous or asynchronous', async () => {
  const at = context({ data: '5' })
  const seen = vi.fn(async () => at.job.data)
  expect(await validate(z.coerce.number())(at, seen)).toBe(5)
  expect(await validate(z.number().transform(async (value) => value + 1))(at, seen)).toBe(6)
  await expect(validate(z.string())(at, seen)).rejects.toMatchObject({ code: 'ZYQ_VALIDATION' })
  expect(seen).toHaveBeenCalledTimes(2)
})

test('a signal that is read after the abort is aborted', () => {
  const { job } = context()
  job[ABORT]('first')
  job[ABORT]('second')
  expect(job.signal.aborted).toBe(true)
  expect(job.signal.reason).toBe('first')
  expect(job.signal).toBe(job.signal)
})

describe('the submit side', () => {
  const stored = async (middleware: Middleware, submit: (task: Task) => Promise<unknown>, options = {}) => {
    const server = scripted()
    const task = new Task<unknown>(uniqueName(), { server, middleware: [middleware], ...options })
    await submit(task)
    const broker = server.create({ baseDir: '/' })
    await broker.connect()
    const jobs = (await broker.admin.jobs?.(task.queue, { limit: 10 })) ?? []
    await producers.close()
    return jobs.map(({ body, headers }) => ({
      data: JSON.parse(Buffer.from(body).toString()),
      headers: { ...headers },
    }))
  }
  const doubling: Middleware = {
    async submit(submission) {
      submission.data = Number(submission.data) * 2
      submission.headers['x-task'] = submission.task.length > 0 ? 'known' : ''
    },
  }
  const headers = { 'x-task': 'known' }

  test('changes data and headers of one job, of a list and of a stream', async () => {
    expect(await stored(doubling, (task) => task.submit(1))).toEqual([{ data: 2, headers }])
    const four = [
      { data: 4, headers },
      { data: 6, headers },
    ]
    expect(await stored(doubling, (task) => task.submit([2, 3], { batch: true }))).toEqual(four)
    expect(await stored(doubling, (task) => task.submitMany([2, 3]))).toEqual(four)
  })

  test('runs before the schema, and its error rejects the submission', async () => {
    const odd = z.number().refine((value) => value % 2 === 1)
    await expect(stored(doubling, (task) => task.submit(1), { data: odd })).rejects.toMatchObject({
      code: 'ZYQ_VALIDATION',
    })
    const refusing: Middleware = { submit: () => Promise.reject(new Error('quota')) }
    await expect(stored(refusing, (task) => task.submit(1))).rejects.toThrow('quota')
  })

  test('may not add a header of core', async () => {
    const forging: Middleware = { submit: ({ headers: added }) => void (added['zyq-task'] = 'other') }
    await expect(stored(forging, (task) => task.submit(1))).rejects.toMatchObject({ code: 'ZYQ_CONFIG' })
  })

  test.each([{}, { submit: 1 }, { run: 'x' }, 7, null])('is a function or has one: %o', (middleware) => {
    const define = (): unknown => Reflect.construct(Task, [uniqueName(), { middleware: [middleware] }])
    expect(define).toThrow(expect.objectContaining({ code: 'ZYQ_CONFIG' }))
  })
})

import { expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { producers } from '../../src/producer/producers.ts'
import type { JobHandle } from '../../src/producer/job-handles.ts'
import { queueJob, remoteTask, taskOf } from '../../src/tasks/queue-job.ts'
import { findTask, registeredTasks } from '../../src/tasks/registry.ts'
import { validate } from '../../src/messages/schema.ts'
import { Task } from '../../src/tasks/task.ts'
import { createTestQueue, memoryBroker } from '../../src/testing/index.ts'
import { Job, type WorkerContext } from '../../src/worker/job.ts'
import { createWorker, Worker } from '../../src/worker/worker.ts'
import { uniqueName } from '../support.ts'

const configError = (text: RegExp, code = 'ZYQ_CONFIG') =>
  expect.objectContaining({ code, message: expect.stringMatching(text) })

test('a task is registered under its `name` or the name of its handler', () => {
  const named = queueJob({}, async function namedByHandler() {})
  expect(named.name).toBe('namedByHandler')
  expect(named.queue).toBe('namedByHandler')
  const own = queueJob({ name: 'own-name', queue: 'own-queue' }, async function other() {})
  expect([own.name, own.queue]).toEqual(['own-name', 'own-queue'])
  expect(findTask('own-name')).toBe(own)
  expect(registeredTasks()).toEqual(expect.arrayContaining([named, own]))
  expect(findTask('remote')).toBe(undefined)
  expect(remoteTask('remote').handler).toBe(undefined)
  expect(findTask('remote')).toBe(undefined)
})

test('two tasks with one name and a task without a name are refused', () => {
  const name = uniqueName()
  queueJob({ name }, () => {})
  expect(() => queueJob({ name }, () => {})).toThrow(configError(/Two tasks/, 'ZYQ_TASK_DUPLICATE'))
  expect(() => queueJob({}, () => {})).toThrow(configError(/has no name/, 'ZYQ_TASK_NAME'))
  expect(() => queueJob({ name: 'a b' }, () => {})).toThrow(configError(/white space/, 'ZYQ_TASK_NAME'))
  expect(() => queueJob({ name: 'ab', queue: '' }, () => {})).toThrow(configError(/empty/, 'ZYQ_QUEUE_NAME'))
})

test('a handler in the place of the options is refused with a sentence', () => {
  // @ts-expect-error a function has no option
  expect(() => queueJob(async function misplaced() {})).toThrow(configError(/options come before the handler/))
  expect(findTask('misplaced')).toBe(undefined)
})

test('a misspelt option is answered with the one that was meant', async () => {
  const misspelt = JSON.parse('{"priorty":"high"}')
  const task = queueJob({ name: uniqueName(), server: memoryBroker() }, () => {})
  const meant = { message: expect.stringMatching(/Did you mean "priority"\?/) }
  await expect(task.submit(null, misspelt)).rejects.toMatchObject(meant)
  const other = queueJob({ name: uniqueName(), server: memoryBroker(), ...misspelt }, () => {})
  await expect(other.submit()).rejects.toMatchObject(meant)
  expect(() => createWorker(JSON.parse('{"concurency":1}'))).toThrow(/did you mean "concurrency"\?/)
  expect(() => createTestQueue(JSON.parse('{"tasks":[],"midleware":[]}'))).toThrow(/did you mean "middleware"\?/)
  expect(() => createTestQueue(JSON.parse('{"tasks":["x"]}'))).toThrow(configError(/tasks.0: expected a task/))
  await producers.close()
})

test('the internals of tasks, jobs and workers are not public', () => {
  expectTypeOf<Extract<keyof Task, 'divert' | 'choice'>>().toBeNever()
  expectTypeOf<Extract<keyof Job, 'abort'>>().toBeNever()
  expectTypeOf<Extract<keyof Worker, 'releaseUnstarted' | 'balanceLedger'>>().toBeNever()
  for (const { prototype } of [Task, Job, Worker]) {
    const names = Object.getOwnPropertyNames(prototype)
    for (const name of ['divert', 'choice', 'abort', 'releaseUnstarted']) expect(names).not.toContain(name)
  }
})

test.each([
  ['retries', -1],
  ['retries', 1e9],
  ['retries', { limit: 1e6 }],
  ['retries', 5n],
  ['timeoutMs', 5n],
  ['priority', 5n],
  ['maxDeliveries', new Date(5)],
  ['retries', { limit: 1, minDelay: 5 }],
  ['timeoutMs', 0],
  ['timeoutMs', 2 ** 31],
  ['hardTimeoutMs', 1.5],
  ['priority', 10],
  ['priority', 'urgent'],
  ['maxDeliveries', 0],
  ['middleware', ['x']],
  ['data', { type: 'string' }],
  ['server', 5],
  ['server', ''],
  ['connection', ''],
])('a wrong %s is named', (option, value) => {
  const define = (): unknown => Reflect.apply(queueJob, undefined, [{ name: uniqueName(), [option]: value }, () => {}])
  expect(define).toThrow(configError(new RegExp(`queueJob: ${option}`)))
})

test('the schema types the data; without a schema the handler does', () => {
  const schema = z.object({ file: z.string(), width: z.coerce.number().default(100) })
  const resize = queueJob({ name: uniqueName(), data: schema }, async (worker, job) => {
    expectTypeOf(worker).toEqualTypeOf<WorkerContext>()
    expectTypeOf(job.data).toEqualTypeOf<{ file: string; width: number }>()
    return job.data.width
  })
  expectTypeOf(resize).toEqualTypeOf<Task<z.input<typeof schema>, number>>()
  const plain = queueJob({ name: uniqueName() }, (_worker, job: Job<{ id: number }>) => job.data.id)
  expectTypeOf(plain).toEqualTypeOf<Task<{ id: number }, number>>()
  const untyped = queueJob({ name: uniqueName() }, (_worker, job) => expectTypeOf(job.data).toBeUnknown())
  expectTypeOf(untyped.submit).parameter(0).toBeUnknown()

  const typesOnly = async (): Promise<void> => {
    expectTypeOf(await plain.submit({ id: 1 })).toEqualTypeOf<JobHandle>()
    expectTypeOf(await plain.submit([{ id: 1 }], { batch: true })).toEqualTypeOf<JobHandle[]>()
    await plain.submitMany([{ id: 1 }])
    await resize.submit({ file: 'a' })
    // @ts-expect-error a number is asked for
    await plain.submit({ id: 'one' })
    // @ts-expect-error the schema asks for a file
    await resize.submit([{ width: 1 }], { batch: true })
    // @ts-expect-error
    await plain.submitMany([{ id: 'one' }])
    // @ts-expect-error no such option
    await plain.submit({ id: 1 }, { delay: 5 })
  }
  expect(typesOnly).toBeTypeOf('function')
})

class Mailer {
  readonly from: string

  constructor(from: string) {
    this.from = from
  }

  @queueJob({ name: 'mailer-send' })
  async send(_worker: WorkerContext, job: Job<{ to: string }>) {
    return `${this.from} to ${job.data.to}`
  }

  @queueJob({ data: z.number() })
  static double(_worker: WorkerContext, job: Job<number>): number {
    return job.data * this.factor
  }

  static readonly factor = 2

  @queueJob()
  plainMethod() {}

  undecorated(_worker: WorkerContext, _job: Job<string>) {}
}

test('a decorated method is a task; an instance method runs on the first instance', async () => {
  const send = taskOf(Mailer.prototype.send)
  const double = taskOf(Mailer.double)
  expectTypeOf(send).toEqualTypeOf<Task<{ to: string }, string>>()
  expectTypeOf(double).toEqualTypeOf<Task<number, number>>()
  expect([send.name, double.name, taskOf(Mailer.prototype.plainMethod).name]).toEqual([
    'mailer-send',
    'double',
    'plainMethod',
  ])
  await using queue = createTestQueue({ tasks: [send, double] })
  await double.submit(21)
  await send.submit({ to: 'b' }, { retries: 0 })
  await queue.run()
  expect(queue.jobs()).toMatchObject([
    { result: 42 },
    { state: 'dead', reason: expect.stringMatching(/no instance was created/) },
  ])
  const mailers = [new Mailer('a'), new Mailer('z')]
  await send.submit({ to: 'b' })
  await queue.run()
  expect(queue.jobs(send)[1]?.result).toBe('a to b')
  expect(mailers).toHaveLength(2)
})

test('a legacy decorator throws an error with the remedy', () => {
  const decorate: (...call: unknown[]) => unknown = Object.assign(queueJob({ name: 'old' }))
  expect(() => decorate(Object, 'method', {})).toThrow(/experimentalDecorators/)
})

test('a method that is not decorated is not a task', () => {
  expect(() => taskOf(Mailer.prototype.undecorated)).toThrow(configError(/undecorated/, 'ZYQ_TASK_UNKNOWN'))
})

test('a schema may be synchronous or asynchronous, and the error names the first five faults', async () => {
  const schema = z.object(Object.fromEntries(['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((key) => [key, z.number()])))
  const run = () => validate(schema, { a: 1 }, 'It')
  expect(run).toThrow(configError(/^It does not fit its schema: b: .*f: .*and 1 more$/, 'ZYQ_VALIDATION'))
  expect(validate(z.number(), 5, 'It')).toBe(5)
  const later = z.number().refine(async (value) => value > 5, 'too small')
  await expect(validate(later, 1, 'It')).rejects.toMatchObject({
    code: 'ZYQ_VALIDATION',
    message: expect.stringMatching(/too small/),
  })
  expect(await validate(later, 7, 'It')).toBe(7)
})

test('the handler gets the output of the schema, and the message has the input', async () => {
  const task = queueJob(
    { name: uniqueName(), data: z.string().transform((text) => text.length) },
    (_worker, job) => job.data,
  )
  await using queue = createTestQueue({ tasks: [task] })
  await task.submit('four')
  await queue.run()
  expect(queue.jobs()).toMatchObject([{ data: 'four', result: 4 }])
})

test('two copies of this package share one registry', async () => {
  const name = uniqueName()
  const task = queueJob({ name, server: memoryBroker() }, () => {})
  expect(Reflect.get(globalThis, Symbol.for('@zyqueue/core/registry@1'))).toMatchObject({
    tasks: expect.any(Map),
    methods: expect.any(WeakMap),
  })
  await task.submit(null)
  await producers.close()
})

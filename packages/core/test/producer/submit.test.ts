import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { z } from 'zod'
import type { Middleware } from '../../src/middleware/middleware.ts'
import { BrokerError } from '../../src/errors.ts'
import { producers } from '../../src/producer/producers.ts'
import { SubmitError } from '../../src/producer/submit-error.ts'
import { remoteTask } from '../../src/tasks/queue-job.ts'
import { Task } from '../../src/tasks/task.ts'
import { scripted, uniqueName, until, type Script } from '../support.ts'

afterEach(() => producers.close())

function taskOn(script: Script, options: ConstructorParameters<typeof Task>[1] = {}) {
  const broker = scripted(script)
  const name = uniqueName()
  return { broker, name, task: new Task<number>(name, { ...options, server: broker }) }
}

const bodies = (batch: readonly { body: Uint8Array }[]) => batch.map(({ body }) => Number(Buffer.from(body).toString()))

test('one job resolves to its handle', async () => {
  const { task, name, broker } = taskOn({})
  const handle = await task.submit(1)
  expect(handle).toEqual({ id: expect.stringMatching(/^[0-9a-z]{28}$/), task: name, queue: name })
  expect(broker.store.queue(name).take()).toMatchObject({ id: handle.id, headers: {}, priority: 4 })
})

test('submits of tasks that name the same broker share one connection', async () => {
  const broker = scripted()
  const tasks = Array.from({ length: 5 }, () => remoteTask<number>(uniqueName(), { server: broker }))
  await Promise.all(tasks.flatMap((task) => [task.submit(1), task.submit([1, 2], { batch: true })]))
  expect(broker.made()).toBe(1)
})

test('the message has the options of the submit', async () => {
  const { task, name, broker } = taskOn({}, { priority: 'low' })
  await task.submit(1, { queue: 'elsewhere', headers: { tenant: 'a' }, retries: 7, priority: 9 })
  await task.submit(2)
  expect(broker.store.queue('elsewhere').take()).toMatchObject({
    headers: { tenant: 'a', 'zyq-task': name, 'zyq-retries': '7' },
    priority: 9,
  })
  expect(broker.store.queue(name).take()).toMatchObject({ headers: {}, priority: 1 })
  await task.submit(3, { delayMs: 60_000 })
  expect(broker.store.queue(name).stats()).toMatchObject({ delayed: 1 })
})

const unfit: readonly (readonly [string, readonly unknown[]])[] = [
  ['delayMs', [5n, '5', new Date(5), Number.NaN, -1, Number.POSITIVE_INFINITY, null, Symbol('5'), { valueOf: fail }]],
  ['retries', [5n, '5', new Date(5), Number.NaN, -1, 1.5, 1e6, 1e9, { limit: 1 }, { valueOf: fail }]],
  ['priority', [5n, '5', new Date(5), Number.NaN, -1, 1.5, 10, 'highest', { valueOf: fail }]],
  ['headers', [null, 'text', { a: 5n }, { a: new Date(5) }, { A: 'upper case' }, { get a() { return fail() } }]], // prettier-ignore
  ['queue', [5n, '', 'white space', Symbol('5'), new Date(5)]],
  ['connection', [5n, new Date(5), '']],
]

function fail(): never {
  throw new Error('do not touch')
}

test('an invalid option rejects only its own submit', async () => {
  const { task } = taskOn({})
  for (const [option, values] of unfit) {
    for (const value of values) {
      const options = { [option]: value }
      const bad = [
        task.submit(1, options),
        task.submit([1], { ...options, batch: true }),
        task.submitMany([1], options),
      ]
      const good = task.submit(2)
      for (const result of await Promise.allSettled(bad)) {
        const reason: unknown = result.status === 'rejected' ? result.reason : result.value
        const code = option === 'queue' ? expect.stringMatching(/^ZYQ_(?:CONFIG|QUEUE_NAME)$/) : 'ZYQ_CONFIG'
        expect([option, reason]).toEqual([
          option,
          expect.objectContaining({ code, message: expect.stringMatching(/\w/) }),
        ])
      }
      expect(await good).toMatchObject({ task: task.name })
    }
  }
  const hostile = new Proxy({}, { ownKeys: fail })
  await expect(task.submit(1, hostile)).rejects.toMatchObject({ code: 'ZYQ_CONFIG', message: /do not touch/ })
})

test.each([
  ['of 20 MB', { a: 'x'.repeat(20_000_000) }, /more than 32768 bytes/],
  ['a little too large', { a: 'é'.repeat(16_384) }, /more than 32768 bytes/],
  ['of 10,000 names', Object.fromEntries(Array.from({ length: 10_000 }, (_, at) => [`name-${at}`, ''])), /more than/],
  ['with the name __proto__', JSON.parse('{"__proto__":"x"}'), /__proto__/],
  ['in a list', ['x'], /expected names/],
])('headers %s are refused, also if a middleware adds them', async (_what, headers, message) => {
  const refusal = { code: 'ZYQ_CONFIG', message: expect.stringMatching(message) }
  const { task, broker } = taskOn({})
  await expect(task.submit(1, { headers })).rejects.toMatchObject(refusal)
  await expect(task.submitMany([1], { headers })).rejects.toMatchObject(refusal)
  expect(broker.made()).toBe(0)
  if (Array.isArray(headers)) return
  const adding: Middleware = {
    submit(submission) {
      for (const [name, value] of Object.entries(headers)) submission.headers[name] = String(value)
    },
  }
  await expect(taskOn({}, { middleware: [adding] }).task.submit(1)).rejects.toMatchObject(refusal)
})

test('headers of 32 KiB arrive', async () => {
  const { task, name, broker } = taskOn({})
  const headers = { a: 'é'.repeat(16_383) }
  await task.submit(1, { headers })
  expect(broker.store.queue(name).take()).toMatchObject({ headers })
})

test('a fraction of a millisecond is rounded up', async () => {
  const delays: unknown[] = []
  const { task } = taskOn({
    publish: (real, batch) => (delays.push(...batch.map(({ delayMs }) => delayMs)), real.publish(batch)),
  })
  await task.submit(1, { delayMs: 0.25 })
  expect(delays).toEqual([1])
})

test('a whole list is validated before a job is sent', async () => {
  const publish = vi.fn((real, batch) => real.publish(batch))
  const { task } = taskOn({ publish }, { data: z.number().max(5) })
  await expect(task.submit([1, 2, 9], { batch: true })).rejects.toMatchObject({ code: 'ZYQ_VALIDATION' })
  expect(publish).not.toHaveBeenCalled()
  expect(await task.submit([1, 2, 3], { batch: true })).toHaveLength(3)
  expect(await task.submit([], { batch: true })).toEqual([])
})

test('with asynchronous validation, no job of an invalid list is sent and no rejection is unhandled', async () => {
  const asynchronous = z.number().refine(async (value) => (await sleep(1), value < 5))
  const publish = vi.fn((real, batch) => real.publish(batch))
  const { task } = taskOn({ publish }, { data: asynchronous })
  await expect(task.submit([9, 9, 1], { batch: true })).rejects.toMatchObject({ code: 'ZYQ_VALIDATION' })
  expect(publish).not.toHaveBeenCalled()
})

test('data that JSON cannot encode is refused', async () => {
  const { task } = taskOn({})
  const anything: Task = new Task('anything', { server: scripted() })
  await expect(anything.submit(10n)).rejects.toMatchObject({ code: 'ZYQ_ENCODE' })
  await expect(task.submit(1, { headers: { 'zyq-task': 'x' } })).rejects.toMatchObject({ code: 'ZYQ_CONFIG' })
})

test('a SubmitError lists the refused and the unknown jobs', async () => {
  const { task } = taskOn({
    capabilities: { idempotentPublish: false },
    publish: async (_real, batch) =>
      bodies(batch).map((number) =>
        number === 1
          ? { status: 'refused', error: new BrokerError('ZYQ_BODY_TOO_LARGE', 'too large') }
          : number === 2
            ? { status: 'unknown', error: new BrokerError('ZYQ_CONNECTION_LOST', 'cut') }
            : { status: 'stored' },
      ),
  })
  const error = await task.submit([0, 1, 2, 3], { batch: true }).catch((thrown: unknown) => thrown)
  if (!(error instanceof SubmitError)) return expect.fail(String(error))
  expect(error.code).toBe('ZYQ_SUBMIT_PARTIAL')
  expect([...error.stored]).toHaveLength(2)
  expect(error.refused).toMatchObject([{ index: 1, error: { code: 'ZYQ_BODY_TOO_LARGE' } }])
  expect(error.unknown).toMatchObject([{ index: 2, error: { code: 'ZYQ_OUTCOME_UNKNOWN' } }])
  await expect(task.submit(2)).rejects.toMatchObject({ code: 'ZYQ_OUTCOME_UNKNOWN' })
  await expect(task.submit([1, 1], { batch: true })).rejects.toMatchObject({ code: 'ZYQ_BODY_TOO_LARGE' })
})

test('the broker refuses an unknown option', async () => {
  const elsewhere = new Task<number>(uniqueName(), Object.assign({ server: scripted() }, { exchange: 'x' }))
  await expect(elsewhere.submit(1)).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/exchange/),
  })
  const { task } = taskOn({})
  await expect(task.submit(1, JSON.parse('{"routingKey":"x"}'))).rejects.toMatchObject({
    message: expect.stringMatching(/routingKey/),
  })
})

test('an unsupported option is refused before a job is sent', async () => {
  const { task } = taskOn({ capabilities: { delay: 'none', priorities: 1 } })
  await expect(task.submit(1, { delayMs: 5 })).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/delayMs/),
  })
  await expect(task.submit(1, { priority: 9 })).rejects.toMatchObject({ code: 'ZYQ_UNSUPPORTED' })
  const urgent = taskOn({ capabilities: { priorities: 1 } }, { priority: 'high' }).task
  await expect(urgent.submit(1)).rejects.toMatchObject({ code: 'ZYQ_UNSUPPORTED' })
})

test('closing waits for submits that were just called', async () => {
  const { task, broker, name } = taskOn({})
  const submitting = Promise.all([task.submit(1), task.submit([2, 3], { batch: true })])
  {
    await using _ = producers
  }
  await submitting
  expect(broker.store.queue(name).stats().ready).toBe(3)
  await task.submit(4)
  expect(broker.made()).toBe(2)
})

test('closing with a submit that fails settles both', async () => {
  const { task } = taskOn({ connect: () => Promise.reject(new BrokerError('ZYQ_UNREACHABLE', 'away')) })
  const failing = expect(task.submit(1)).rejects.toMatchObject({ code: 'ZYQ_UNREACHABLE' })
  await producers.close()
  await failing
  const nowhere = remoteTask(uniqueName(), { server: 'not-installed' })
  const missing = expect(nowhere.submit(1)).rejects.toMatchObject({ code: 'ZYQ_BROKER_NOT_FOUND' })
  await producers.close()
  await missing
})

function* numbers(count: number, onRead: (index: number) => void = () => {}): Generator<number> {
  for (let index = 0; index < count; index++) {
    onRead(index)
    yield index
  }
}

test('submitMany sends the items of an iterable in batches and reports progress', async () => {
  const batches: number[] = []
  const { task, broker, name } = taskOn({
    publish: (real, batch) => {
      batches.push(batch.length)
      return real.publish(batch)
    },
  })
  const progress: number[] = []
  const handles = await task.submitMany(numbers(2500), { onProgress: ({ stored }) => progress.push(stored) })
  expect(batches).toEqual([1000, 1000, 500])
  expect(progress).toEqual([1000, 2000, 2500])
  expect(handles.length).toBe(2500)
  expect([...handles].map(({ id }) => id)).toEqual(Array.from({ length: 2500 }, (_, index) => handles.at(index)?.id))
  expect(broker.store.queue(name).take()?.id).toBe(handles.at(0)?.id)
  expect([handles.at(2500), handles.at(-1)?.id, handles.at(0.5)]).toEqual([undefined, handles.at(2499)?.id, undefined])
})

test('the handles of 100,000 jobs are created on access', async () => {
  const { task, name } = taskOn({ publish: async (_real, batch) => batch.map(() => ({ status: 'stored' })) })
  const handles = await task.submitMany(numbers(100_000))
  expect(handles.length).toBe(100_000)
  expect(Object.keys(handles)).toEqual(['length'])
  expect(handles.at(99_999)).toMatchObject({ task: name })
})

test('the source is read at most four batches ahead of the broker', async () => {
  let read = 0
  let let1: (() => void)[] = []
  const { task } = taskOn({
    publish: async (real, batch) => {
      await new Promise<void>((resolve) => let1.push(resolve))
      return real.publish(batch)
    },
  })
  const submitting = task.submitMany(numbers(20_000, () => read++))
  await until('four batches wait', () => let1.length === 4)
  await sleep(20)
  expect(read).toBeLessThanOrEqual(4001)
  let1.shift()?.()
  await until('one more', () => let1.length === 4)
  expect(read).toBeLessThanOrEqual(5001)
  const opening = setInterval(() => {
    for (const open of let1) open()
    let1 = []
  }, 1)
  expect((await submitting).length).toBe(20_000)
  clearInterval(opening)
})

test('a slow source does not delay jobs', async () => {
  const { task, broker, name } = taskOn({})
  let end = (): void => {}
  async function* slow() {
    yield 1
    yield 2
    await new Promise<void>((resolve) => (end = resolve))
    yield 3
  }
  const submitting = task.submitMany(slow())
  await until('two are stored', async () => {
    await sleep(5)
    return broker.store.queues().some((queue) => queue.name === name && queue.stats().ready === 2)
  })
  end()
  expect((await submitting).length).toBe(3)
})

test('if a source throws, its earlier jobs are sent, and the error lists them', async () => {
  const { task, broker, name } = taskOn({})
  const source = async function* () {
    yield* numbers(1500)
    throw new Error('the file ended early')
  }
  const error = await task.submitMany(source()).catch((thrown: unknown) => thrown)
  if (!(error instanceof SubmitError)) return expect.fail(String(error))
  expect(error.cause).toMatchObject({ message: 'the file ended early' })
  expect(error.stored).toHaveLength(1500)
  expect(broker.store.queue(name).stats().ready).toBe(1500)
  await expect(task.submitMany(failing())).rejects.toThrow('at once')
})

function* failing(): Generator<number> {
  yield* []
  throw new Error('at once')
}

test('the first refusal stops reading and closes the source', async () => {
  let read = 0
  let closed = false
  const { task } = taskOn({
    publish: async (_real, batch) =>
      bodies(batch).map((number) =>
        number === 1500
          ? { status: 'refused', error: new BrokerError('ZYQ_BROKER_FULL', 'full') }
          : { status: 'stored' },
      ),
  })
  function* source() {
    try {
      yield* numbers(1_000_000, () => read++)
    } finally {
      closed = true
    }
  }
  const error = await task.submitMany(source()).catch((thrown: unknown) => thrown)
  if (!(error instanceof SubmitError)) return expect.fail(String(error))
  expect(error.refused).toMatchObject([{ index: 1500 }])
  expect(closed).toBe(true)
  expect(read).toBeLessThan(10_000)
  expect(error.stored.length).toBe(read - 1)
})

test('an error of onProgress rejects submitMany and leaves no unhandled rejection', async () => {
  const { task } = taskOn({})
  const onProgress = () => {
    throw new Error('the bar broke')
  }
  const error = await task.submitMany(numbers(100_000), { onProgress }).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'ZYQ_SUBMIT_PARTIAL', cause: { message: 'the bar broke' } })
})

test('large jobs of a stream are sent in batches of four megabytes', async () => {
  const batches: number[] = []
  const broker = scripted({
    publish: (real, batch) => {
      batches.push(batch.length)
      return real.publish(batch)
    },
  })
  const task = new Task<string>(uniqueName(), { server: broker })
  await task.submitMany(Array.from({ length: 9 }, () => 'x'.repeat(1_000_000)))
  expect(batches).toEqual([4, 4, 1])
})

test('a source that is not iterable is refused', async () => {
  const { task } = taskOn({})
  const source: Iterable<number> = JSON.parse('{}')
  await expect(task.submitMany(source)).rejects.toMatchObject({ code: 'ZYQ_CONFIG' })
})

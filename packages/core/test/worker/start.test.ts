import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { BrokerError } from '../../src/errors.ts'
import { Retry } from '../../src/middleware/signals.ts'
import { producers } from '../../src/producer/producers.ts'
import { Task } from '../../src/tasks/task.ts'
import type { Job } from '../../src/worker/job.ts'
import { createWorker, Worker } from '../../src/worker/worker.ts'
import { gate, recordingLogger, scripted, uniqueName, until } from '../support.ts'
import { setUp, taskOn, workerOn } from './set-up.ts'

afterEach(() => producers.close())

test('start waits for a broker that is unavailable', async () => {
  let tries = 0
  const ran = vi.fn()
  const { task, worker, logger } = setUp(
    {
      connect: (real) => (tries++ < 2 ? Promise.reject(new BrokerError('ZYQ_UNREACHABLE', 'away')) : real.connect()),
    },
    ran,
  )
  await worker.start()
  await task.submit(1)
  await until('it runs', () => ran.mock.calls.length === 1)
  expect(logger.lines.filter(({ message }) => /broker unavailable/.test(message))).toHaveLength(1)
})

test.each([
  ['a supervised worker waits longer', true],
  ['without a supervisor start gives up', false],
])('if a broker is unavailable for more than 30 seconds, %s', async (_, waitsForBroker) => {
  const real = performance.now.bind(performance)
  let offset = 0
  vi.spyOn(performance, 'now').mockImplementation(() => real() + offset)
  onTestFinished(() => void vi.restoreAllMocks())
  let tries = 0
  const broker = scripted({
    connect: async (next) => {
      offset += 31_000
      if (tries++ < 2) throw new BrokerError('ZYQ_UNREACHABLE', 'away')
      await next.connect()
    },
  })
  const ledger = { begin: vi.fn(), start: vi.fn(), end: vi.fn(), flush: vi.fn() }
  const supervision = {
    ledger,
    afterDeath: false,
    isOrphan: () => false,
    waitsForBroker: true,
    onSessions: vi.fn(),
    onFinishing: vi.fn(),
  }
  const logger = recordingLogger()
  const options = { tasks: [taskOn(broker, () => {})], logger }
  const worker = waitsForBroker ? new Worker(options, supervision) : new Worker(options)
  onTestFinished(() => worker.close())
  if (waitsForBroker) await worker.start()
  else await expect(worker.start()).rejects.toMatchObject({ code: 'ZYQ_UNREACHABLE' })
  expect(tries).toBe(waitsForBroker ? 3 : 1)
  expect(logger.lines.some(({ message }) => message.includes('broker unavailable, retrying'))).toBe(waitsForBroker)
})

test('start resolves if the worker is closed while it waits for a broker', async () => {
  const { worker, broker } = setUp(
    { connect: () => Promise.reject(new BrokerError('ZYQ_UNREACHABLE', 'away')) },
    vi.fn(),
  )
  const starting = worker.start()
  await until('it connects', () => broker.made() === 1)
  await worker.close()
  await starting
  expect(worker.status.state).toBe('closed')
})

test('a worker that is closed immediately after start opens nothing', async () => {
  const { worker, broker } = setUp({}, vi.fn())
  const starting = worker.start()
  await worker.close()
  await starting
  await worker.ended
  expect(worker.status.state).toBe('closed')
  expect(broker.store.consumers()).toEqual([])
  await expect(worker.start()).rejects.toMatchObject({ code: 'ZYQ_CLOSED' })
})

test('a worker that is closed during consume leaves no consumer', async () => {
  const release = gate()
  const consuming = gate()
  const { worker, broker } = setUp(
    {
      consume: async (real, options) => {
        consuming.open()
        await release.opened
        return real.consume(options)
      },
    },
    vi.fn(),
  )
  const starting = worker.start()
  await consuming.opened
  const closing = worker.close()
  release.open()
  await Promise.all([closing, starting])
  expect(broker.store.consumers()).toEqual([])
})

test('start rejects an option that the broker does not support, and closes all connections', async () => {
  const other = scripted()
  const good = taskOn(other, vi.fn())
  const bad = taskOn(scripted({ capabilities: { priorities: 1 } }), vi.fn(), { priority: 'high' })
  const worker = workerOn({ tasks: [good, bad] })
  await expect(worker.start()).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/priority/),
  })
  expect(worker.status.state).toBe('closed')
  expect(other.store.consumers()).toEqual([])
  await worker.ended
})

test('start rejects an option that the broker does not know', async () => {
  const task = taskOn(scripted(), vi.fn(), JSON.parse('{"exchange":"x"}'))
  await expect(workerOn({ tasks: [task] }).start()).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/exchange/),
  })
})

test('start rejects two tasks that want one queue with different options', async () => {
  const broker = scripted({ declare: async () => {} })
  const tasks = ['a', 'b'].map((key) => taskOn(broker, vi.fn(), Object.assign({ queue: 'shared' }, { key })))
  await expect(workerOn({ tasks }).start()).rejects.toMatchObject({
    code: 'ZYQ_CONFIG',
    message: expect.stringMatching(/shared/),
  })
})

test('start rejects hardTimeoutMs without a supervisor', async () => {
  const task = taskOn(scripted(), vi.fn(), { hardTimeoutMs: 1000 })
  await expect(workerOn({ tasks: [task] }).start()).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringMatching(/hard/),
  })
})

test('an error names the invalid option', async () => {
  expect(() => createWorker({ concurrency: 0 })).toThrow(/concurrency/)
  expect(() => createWorker({ graceMs: 2 ** 31 })).toThrow(/graceMs/)
  const mistyped: object = { concurency: 3 }
  expect(() => createWorker(mistyped)).toThrow(/concurency/)
  const task = taskOn(scripted(), vi.fn())
  await expect(workerOn({ tasks: [] }).start()).rejects.toMatchObject({ message: expect.stringMatching(/no task/) })
  await expect(workerOn({ tasks: [task], queues: ['x'] }).start()).rejects.toMatchObject({
    message: expect.stringMatching(/No task has the queue x/),
  })
  const remote = new Task(uniqueName(), { server: scripted() })
  await expect(workerOn({ tasks: [remote] }).start()).rejects.toMatchObject({
    message: expect.stringMatching(/remote/),
  })
})

test('a worker warns that a broker without delays retries at once', async () => {
  const attempts: number[] = []
  const fails = ({ attempt }: Job): void => {
    attempts.push(attempt)
    throw new Retry({ delayMs: 3_600_000 })
  }
  const { task, worker, logger, stats } = setUp({ capabilities: { delay: 'none' } }, fails, { task: { retries: 2 } })
  await worker.start()
  await task.submit(1)
  await until('it is dead', () => stats().dead === 1)
  expect(attempts).toEqual([1, 2, 3])
  expect(logger.lines.filter(({ message }) => message.includes('has no delays'))).toMatchObject([{ level: 'warn' }])
  const sure = setUp({ capabilities: { delay: 'none' } }, () => {}, { task: { retries: 0 } })
  await sure.worker.start()
  await sure.worker.drain()
  expect(sure.logger.lines.filter(({ level }) => level !== 'info')).toEqual([])
})

test('start logs settings that can lose jobs, and no other settings', async () => {
  const check = async () => [
    { level: 'problem', message: 'jobs are evicted', remedy: 'do not' } as const,
    { level: 'warning', message: 'it could be better' } as const,
  ]
  const { worker, logger } = setUp({ check }, () => {})
  await worker.start()
  await until('it is logged', () => logger.lines.some(({ level }) => level === 'error'))
  expect(logger.lines).toEqual([
    { level: 'error', fields: { remedy: 'do not' }, message: 'scripted: jobs are evicted' },
  ])
})

test('a worker works if its broker cannot report its settings', async () => {
  const ran: unknown[] = []
  const { task, worker, logger } = setUp({ check: () => Promise.reject(new Error('not allowed')) }, ({ data }) =>
    ran.push(data),
  )
  await worker.start()
  await task.submit(1)
  await until('it has run', () => ran.length === 1)
  expect(logger.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
})

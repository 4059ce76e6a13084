/** Consumers that fail although their broker is available. */
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { BrokerError } from '../../src/errors.ts'
import { producers } from '../../src/producer/producers.ts'
import { Task } from '../../src/tasks/task.ts'
import type { Job } from '../../src/worker/job.ts'
import type { WorkerOptions } from '../../src/worker/options.ts'
import { Worker } from '../../src/worker/worker.ts'
import type { Supervision } from '../../src/worker/active-job.ts'
import { gate, recordingLogger, scripted, uniqueName, until, type ScriptedBroker } from '../support.ts'

const STALL_MS = 100

afterEach(() => producers.close())

function taskOn(broker: ScriptedBroker, run: (job: Job) => unknown) {
  return new Task<number>(uniqueName(), { server: broker }, { run: (_worker, job) => run(job) })
}

function workerOn(options: WorkerOptions, supervision?: Supervision) {
  const logger = recordingLogger()
  const worker = new Worker({ stallMs: STALL_MS, logger, ...options }, supervision)
  onTestFinished(() => worker.close())
  const logged = (text: string) => logger.lines.filter(({ message }) => message.startsWith(text))
  return { worker, logged }
}

function supervise() {
  const ledger = { begin: vi.fn(), end: vi.fn(), flush: vi.fn(), start: vi.fn() }
  return {
    ledger,
    afterDeath: false,
    isOrphan: () => false,
    waitsForBroker: true,
    onSessions: vi.fn(),
    onFinishing: vi.fn(),
  }
}

/** Makes every `receive` reject until the returned function is called. */
function breakReceiving(broker: ScriptedBroker) {
  let fails = 0
  broker.script.receive = () => Promise.reject(new BrokerError('ZYQ_BROKER', `no right to receive ${++fails}`))
  return { fails: () => fails, repair: () => delete broker.script.receive }
}

test('a worker without a supervisor logs at growing intervals, replaces the connection, and keeps trying', async () => {
  const broker = scripted()
  const ran = vi.fn()
  const task = taskOn(broker, ({ data }) => ran(data))
  const { worker, logged } = workerOn({ tasks: [task] })
  await worker.start()
  await task.submit(1)
  await until('it runs', () => worker.status.done === 1)
  const made = broker.made()
  const failure = breakReceiving(broker)
  await task.submit(2)
  await until('a new connection, and another', () => broker.made() >= made + 2)
  expect(worker.status.state).toBe('running')
  const told = logged('receiving fail')
  expect(told.slice(0, 2)).toMatchObject([
    { level: 'warn', fields: { err: { message: 'no right to receive 1' } } },
    { level: 'warn', fields: { failures: 4 } },
  ])
  expect(logged('receiving keeps failing')).toMatchObject([
    { level: 'error', fields: { failures: expect.any(Number) } },
  ])
  expect(told.length).toBeLessThan(failure.fails())
  failure.repair()
  await until('the next runs', () => ran.mock.calls.length === 2)
  await worker.close()
  await worker.ended
})

test('jobs that run during a failure run once and keep their consumer', async () => {
  const let1 = gate()
  const ran: unknown[] = []
  const broker = scripted()
  const task = taskOn(broker, async ({ data, attempt }) => {
    ran.push([data, attempt])
    if (data === 1) await let1.opened
  })
  const { worker, logged } = workerOn({ tasks: [task] })
  await task.submit(1)
  await worker.start()
  await until('it runs', () => ran.length === 1)
  const made = broker.made()
  const consume = vi.fn((real, options) => real.consume(options))
  broker.script.consume = consume
  const failure = breakReceiving(broker)
  await until('it lasts', () => logged('receiving keeps failing').length === 1)
  const before = failure.fails()
  await until('it is tried again', () => failure.fails() >= before + 2)
  failure.repair()
  await task.submit(2)
  await until('the next runs', () => ran.length === 2)
  let1.open()
  await until('both are done', () => worker.status.done === 2)
  expect(ran).toEqual([
    [1, 1],
    [2, 1],
  ])
  expect(consume).not.toHaveBeenCalled()
  expect(broker.made()).toBe(made)
  await worker.drain()
  expect(broker.store.queue(task.name).stats()).toMatchObject({ ready: 0, active: 0 })
})

test.each(['ZYQ_LEASE_LOST', 'ZYQ_CLOSED'] as const)('a consumer that answers %s is replaced at once', async (code) => {
  const broker = scripted()
  const task = taskOn(broker, () => {})
  const { worker } = workerOn({ tasks: [task], stallMs: 600_000 })
  await worker.start()
  const consume = vi.fn((real, options) => real.consume(options))
  broker.script.consume = consume
  broker.script.receive = (real, ...call) =>
    consume.mock.calls.length === 0 ? Promise.reject(new BrokerError(code, 'for the test')) : real.receive(...call)
  await until('a new one', () => consume.mock.calls.length === 1)
  await task.submit(1)
  await until('it runs', () => worker.status.done === 1)
  expect(consume).toHaveBeenCalledOnce()
})

test('a supervised worker continues while one broker works, and ends if none does', async () => {
  const [good, bad] = [scripted(), scripted()]
  const let1 = gate()
  const [works, fails] = [taskOn(good, () => let1.opened), taskOn(bad, () => {})]
  const supervision = supervise()
  const { worker, logged } = workerOn({ tasks: [works, fails] }, supervision)
  await worker.start()
  const made = bad.made()
  breakReceiving(bad)
  await until('it lasts', () => logged('receiving keeps failing: retrying').length === 1)
  await until('a new connection', () => bad.made() > made)
  await works.submit(1)
  await until('the other queue is served', () => worker.status.running === 1)
  expect(supervision.onFinishing).not.toHaveBeenCalled()
  breakReceiving(good)
  await until('it retires', () => worker.status.state === 'draining')
  expect(supervision.onFinishing.mock.calls).toEqual([
    [expect.stringMatching(/^receiving keeps failing: ZYQ_BROKER: no right to receive \d+$/)],
  ])
  let1.open()
  await worker.ended
  expect(worker.status).toMatchObject({ state: 'closed', done: 1 })
  expect(good.store.queue(works.name).stats()).toMatchObject({ ready: 0, active: 0 })
})

import { afterEach, expect, test, vi } from 'vitest'
import type { Broker, BrokerPlugin, CallRequest, CallResult, OutboundMessage } from '../../src/contract/index.ts'
import { BrokerError } from '../../src/errors.ts'
import { producers } from '../../src/producer/producers.ts'
import { queueJob, remoteTask } from '../../src/tasks/queue-job.ts'
import { memoryBroker } from '../../src/testing/index.ts'
import type { Job } from '../../src/worker/job.ts'
import { createWorker } from '../../src/worker/worker.ts'
import { scripted, uniqueName } from '../support.ts'

afterEach(() => producers.close())

type Call = (message: OutboundMessage, options: CallRequest) => Promise<CallResult>

/** The in-memory broker with calls that the test ends. */
function calling(call: Call): BrokerPlugin {
  const memory = memoryBroker()
  const create: BrokerPlugin['create'] = (options) => {
    const broker: Broker = memory.create(options)
    const { calls } = broker
    if (calls === undefined) throw new Error('The in-memory broker has no calls')
    return Object.assign(broker, { calls: { ...calls, call } })
  }
  return { ...memory, create }
}

const taskOn = (call: Call) => remoteTask(uniqueName(), { server: calling(call) })
const done = (body: string): CallResult => ({ status: 'done', body: Buffer.from(body) })

test('call rejects on a broker without calls before the job is sent', async () => {
  const task = remoteTask(uniqueName(), { server: scripted() })
  await expect(task.call({})).rejects.toMatchObject({
    code: 'ZYQ_UNSUPPORTED',
    message: expect.stringContaining('scripted'),
  })
})

test.each([
  ['{"a":[1]}', { a: [1] }],
  ['', undefined],
  ['null', null],
  ['plain words of another program', 'plain words of another program'],
])('a result of %j is %j', async (body, result) => {
  expect(await taskOn(async () => done(body)).call({})).toEqual(result)
})

test('a result that is not text is refused', async () => {
  const task = taskOn(async () => ({ status: 'done', body: Uint8Array.of(0xff) }))
  await expect(task.call({})).rejects.toMatchObject({ code: 'ZYQ_DECODE' })
})

test.each([
  ['ZYQ_JOB_TIMEOUT: too long', 'ZYQ_JOB_TIMEOUT', 'too long'],
  ['ZYQ_JOB_FAILED: Error: boom', 'ZYQ_JOB_FAILED', 'Error: boom'],
  ['ZYQ_VALIDATION: no', 'ZYQ_JOB_FAILED', 'ZYQ_VALIDATION: no'],
  ['any text', 'ZYQ_JOB_FAILED', 'any text'],
  [undefined, 'ZYQ_JOB_FAILED', expect.any(String)],
])('a failure for %j rejects with %s', async (reason, code, message) => {
  const task = taskOn(async () => (reason === undefined ? { status: 'failed' } : { status: 'failed', reason }))
  await expect(task.call({})).rejects.toMatchObject({ code, message })
})

test('an unknown or refused call rejects with its code', async () => {
  const error = new BrokerError('ZYQ_CONNECTION_LOST', 'gone')
  await expect(taskOn(async () => ({ status: 'unknown', error })).call({})).rejects.toMatchObject({
    code: 'ZYQ_OUTCOME_UNKNOWN',
    cause: error,
  })
  const full = new BrokerError('ZYQ_BROKER_FULL', 'full')
  await expect(taskOn(async () => ({ status: 'refused', error: full })).call({})).rejects.toBe(full)
})

test('a call that was not sent is retried', async () => {
  const call = vi.fn<Call>(async () => done('1'))
  call.mockRejectedValueOnce(new BrokerError('ZYQ_CONNECTION_LOST', 'gone'))
  expect(await taskOn(call).call({})).toBe(1)
  expect(call).toHaveBeenCalledTimes(2)
})

test('a timeout or a signal ends the wait', async () => {
  const hang: Call = (_, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('aborted', { cause: signal.reason })))
    })
  await expect(taskOn(hang).call({}, { timeoutMs: 5 })).rejects.toMatchObject({ code: 'ZYQ_JOB_TIMEOUT' })
  const reason = new Error('enough')
  await expect(taskOn(hang).call({}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  await expect(taskOn(hang).call({}, { timeoutMs: -1 })).rejects.toMatchObject({ code: 'ZYQ_CONFIG' })
})

test('the message has the options of the call and the task', async () => {
  const call = vi.fn<Call>(async () => done('1'))
  await taskOn(call).call({ a: 1 }, { priority: 'high', headers: { tenant: 'a' } })
  const [message] = call.mock.calls[0] ?? []
  expect(message).toMatchObject({ priority: 7, delayMs: 0, headers: { tenant: 'a' } })
  expect(String(message?.body)).toBe('{"a":1}')
})

test('the caller gets the result, the updates and the error of the handler', async () => {
  const server = memoryBroker()
  const task = queueJob({ name: uniqueName(), server }, (_worker, job: Job<string>) => {
    job.progress(1, 2)
    job.send('part')
    job.warn('slow')
    if (job.data === 'fails') throw new Error('no')
    return { was: job.data, foreground: job.foreground }
  })
  const worker = createWorker({ tasks: [task] })
  await worker.start()
  const heard: unknown[] = []
  const onProgress = (done: number, of: number): void => void heard.push([done, of])
  const onData = (data: unknown): void => void heard.push(data)
  expect(await task.call('fine', { onProgress, onData, onWarning: onData })).toEqual({ was: 'fine', foreground: true })
  expect(heard).toEqual([[1, 2], 'part', 'slow'])
  await expect(task.call('fails')).rejects.toMatchObject({ code: 'ZYQ_JOB_FAILED', message: 'Error: no' })
  await worker.close()
})

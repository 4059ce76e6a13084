import { producers, queueJob, remoteTask, Retry } from '@zyqueue/core'
import { startGearmand, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import plugin from '../../src/index.ts'
import { consume, eventually, openBroker, ownServer, queueName, receive, startWorker } from '../support.ts'

await describeWithServer('gearmand', 'calls', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startGearmand({ persistent: false })
  })
  afterAll(async () => {
    await producers.close()
    await server.stop()
  })

  const at = () => ({ name: queueName(), server: plugin, connection: server.url })

  test('a call resolves to the result of the handler, any JSON value', async () => {
    const task = queueJob(at(), (_worker, job: { data: unknown }) => job.data)
    await startWorker([task])
    for (const data of [{ a: [1, 'ü', null] }, 'text', 12, false, null, []]) expect(await task.call(data)).toEqual(data)
    const nothing = queueJob(at(), () => undefined)
    await startWorker([nothing])
    expect(await nothing.call({})).toBe(undefined)
  })

  test('progress, data and warnings arrive in their order, before the result', async () => {
    const task = queueJob(at(), (_worker, job) => {
      job.progress(1, 3)
      job.send({ part: 1 })
      job.warn('slow')
      job.progress(3, 3)
      job.send('last part')
      return 'done'
    })
    await startWorker([task])
    const received: unknown[] = []
    const result = await task.call(
      {},
      {
        onProgress: (done, of) => received.push(`${done}/${of}`),
        onData: (data) => received.push(data),
        onWarning: (text) => received.push(text),
      },
    )
    expect([...received, result]).toEqual(['1/3', { part: 1 }, 'slow', '3/3', 'last part', 'done'])
  })

  test('a handler that throws runs once, and the caller gets its error', async () => {
    let attempts = 0
    const task = queueJob(at(), () => {
      attempts++
      throw new RangeError('too far')
    })
    await startWorker([task])
    await expect(task.call({})).rejects.toMatchObject({ code: 'ZYQ_JOB_FAILED', message: 'RangeError: too far' })
    const again = queueJob(at(), () => {
      throw new Retry()
    })
    await startWorker([again])
    await expect(again.call({})).rejects.toMatchObject({ code: 'ZYQ_JOB_FAILED' })
    expect(attempts).toBe(1)
    const broker = await openBroker(server.url)
    expect(await broker.admin.deadLetters.list(task.queue, { limit: 10 })).toEqual([])
  })

  test('the caller gets an error if the result is not JSON', async () => {
    const task = queueJob(at(), () => 10n)
    await startWorker([task])
    await expect(task.call({})).rejects.toMatchObject({
      code: 'ZYQ_JOB_FAILED',
      message: expect.stringContaining('result is a bigint'),
    })
  })

  test('a call rejects at its timeout or when it is aborted, and a job that has not begun never runs', async () => {
    const name = queueName()
    const task = remoteTask(name, { server: plugin, connection: server.url })
    const broker = await openBroker(server.url)
    const ready = async () => (await broker.admin.queues()).find((queue) => queue.name === name)?.ready ?? 0
    await expect(task.call({}, { timeoutMs: 1_000 })).rejects.toMatchObject({ code: 'ZYQ_JOB_TIMEOUT' })
    const abort = new AbortController()
    const call = task.call({}, { signal: abort.signal })
    call.catch(() => undefined)
    // gearmand counts a cancelled job until a worker asks for it.
    await eventually(async () => (await ready()) === 2)
    abort.abort(new Error('enough'))
    await expect(call).rejects.toThrow('enough')
    const consumer = await consume(broker, name)
    expect(await consumer.receive(10, { signal: new AbortController().signal })).toEqual([])
  })

  test('an error of a listener ends the call', async () => {
    const task = queueJob(at(), async (_worker, job) => {
      job.progress(1, 2)
      await new Promise((resolve) => job.signal.addEventListener('abort', resolve))
    })
    await startWorker([task], { graceMs: 0 })
    const onProgress = (): never => {
      throw new Error('listener failed')
    }
    await expect(task.call({}, { onProgress })).rejects.toThrow('listener failed')
  })

  test('calls of high priority run first', async () => {
    const name = queueName()
    const task = remoteTask<string>(name, { server: plugin, connection: server.url })
    const calls = (['low', 'normal', 'high'] as const).map((priority) =>
      task.call(priority, { priority, timeoutMs: 120_000 }),
    )
    const broker = await openBroker(server.url)
    await eventually(async () =>
      (await broker.admin.queues()).some((queue) => queue.name === name && queue.ready === 3),
    )
    const consumer = await consume(broker, name)
    const deliveries = await receive(consumer, 3)
    expect(deliveries.map(({ body }) => String(body))).toEqual(['"high"', '"normal"', '"low"'])
    await broker.calls?.answer(deliveries.map((delivery) => ({ delivery, body: delivery.body })))
    expect(await Promise.all(calls)).toEqual(['low', 'normal', 'high'])
  })

  test('a call survives the worker that ran it', async () => {
    const name = queueName()
    const task = remoteTask<string>(name, { server: plugin, connection: server.url })
    const call = task.call('data', { timeoutMs: 120_000 })
    const first = await openBroker(server.url)
    await receive(await consume(first, name), 1)
    await first.close()
    const second = await openBroker(server.url)
    const [delivery] = await receive(await consume(second, name), 1)
    expect(delivery).toMatchObject({ foreground: true })
    await second.calls?.answer(delivery === undefined ? [] : [{ delivery, body: Buffer.from('"done"') }])
    expect(await call).toBe('done')
  })

  test('the job of a call that has not begun goes to another worker when its worker ends', async () => {
    const name = queueName()
    const task = remoteTask<string>(name, { server: plugin, connection: server.url })
    const call = task.call('data', { timeoutMs: 120_000 })
    const broker = await openBroker(server.url)
    const first = await consume(broker, name)
    const [delivery] = await receive(first, 1)
    if (delivery === undefined) throw new Error('nothing received')
    expect(await first.release([{ delivery, delayMs: 0 }])).toEqual([{ status: 'ok' }])
    const second = await openBroker(server.url)
    const receiving = receive(await consume(second, name), 1)
    await first.close()
    const [again] = await receiving
    await second.calls?.answer(again === undefined ? [] : [{ delivery: again, body: Buffer.from('"done"') }])
    expect(await call).toBe('done')
  })

  test('if the server ends, the outcome of a call is unknown', async () => {
    const own = await ownServer()
    const name = queueName()
    const task = remoteTask(name, { server: plugin, connection: own.url })
    const call = task.call({})
    await receive(await consume(await openBroker(own.url), name), 1)
    await Promise.all([expect(call).rejects.toMatchObject({ code: 'ZYQ_OUTCOME_UNKNOWN' }), own.kill('SIGKILL')])
  })
})

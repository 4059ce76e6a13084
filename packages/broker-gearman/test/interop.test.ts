import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { producers, queueJob, remoteTask } from '@zyqueue/core'
import { ensureInstalled, freePort, startGearmand, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import plugin from '../src/index.ts'
import { consume, eventually, message, openBroker, queueName, receive, startWorker, textOf } from './support.ts'

// It has no types.
const abraxas = createRequire(import.meta.url)('abraxas')
const tool = await ensureInstalled('gearman')

await describeWithServer('gearmand', 'other programs', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startGearmand({ persistent: false })
  })
  afterAll(async () => {
    await producers.close()
    await server.stop()
  })
  const at = () => ({ name: queueName(), server: plugin, connection: server.url })

  const client = () => {
    const made = abraxas.Client.connect({ host: '127.0.0.1', port: server.port, defaultEncoding: 'utf8' })
    onTestFinished(() => made.disconnect())
    return made
  }

  test('workers run the jobs of an abraxas client, and it gets their results', async () => {
    const received: unknown[] = []
    const task = queueJob(at(), (_worker, job: { data: { n: number } }) => {
      received.push(job.data)
      return { twice: job.data.n * 2 }
    })
    await startWorker([task])
    const peer = client()
    expect(await peer.submitJob(task.queue, '{"n":21}')).toBe('{"twice":42}')
    await peer.submitJobBg(task.queue, '{"n":1}')
    await eventually(() => received.length === 2)
    expect(received).toEqual([{ n: 21 }, { n: 1 }])
  })

  test('an abraxas client gets a failure', async () => {
    let attempts = 0
    const dayMs = 86_400_000
    const task = queueJob({ ...at(), retries: { limit: 3, minDelayMs: dayMs, maxDelayMs: dayMs } }, () => {
      attempts++
      throw new Error('no')
    })
    await startWorker([task])
    await expect(client().submitJob(task.queue, '{}')).rejects.toBeDefined()
    const broker = await openBroker(server.url)
    const stats = (await broker.admin.queues()).find(({ name }) => name === task.queue)
    // The job has no unique, so the server does not say whether a client waits: the client gets the failure, and the job is retried too.
    expect(stats).toMatchObject({ dead: 0, delayed: 1 })
    expect(attempts).toBe(1)
  })

  test('an abraxas worker runs our jobs, and our calls get its answers', async () => {
    const name = queueName()
    const ran: string[] = []
    client().registerWorker(name, (task: { payload: string }) => {
      ran.push(task.payload)
      return task.payload.toUpperCase()
    })
    const task = remoteTask(name, { server: plugin, connection: server.url })
    await task.submit({ a: 1 }, { priority: 'high' })
    expect(await task.call({ b: 2 }, { timeoutMs: 120_000 })).toEqual({ B: 2 })
    await eventually(() => ran.length === 2)
    expect(ran.toSorted()).toEqual(['{"a":1}', '{"b":2}'])
  })

  test('a job that is not JSON becomes a dead letter with the reason', async () => {
    const task = queueJob(at(), () => undefined)
    await startWorker([task])
    await client().submitJobBg(task.queue, 'not JSON')
    const broker = await openBroker(server.url)
    const dead = () => broker.admin.deadLetters.list(task.queue, { limit: 1 })
    await eventually(async () => (await dead()).length > 0)
    expect(await dead()).toMatchObject([{ reason: expect.stringContaining('ZYQ_DECODE: The body is not JSON') }])
  })

  describe.skipIf(!tool.installed)('the gearman command line tool', () => {
    test('gets a failure, which is not retried', async () => {
      let attempts = 0
      const task = queueJob(at(), () => {
        attempts++
        throw new Error('no')
      })
      await startWorker([task])
      await expect(run('-u', queueName(), '-f', task.queue, '{}')).rejects.toMatchObject({ code: 1 })
      const broker = await openBroker(server.url)
      const stats = (await broker.admin.queues()).find(({ name }) => name === task.queue)
      expect(stats).toMatchObject({ ready: 0, delayed: 0, dead: 0 })
      expect(attempts).toBe(1)
    })

    const run = (...args: readonly string[]) =>
      promisify(execFile)('gearman', ['-h', '127.0.0.1', '-p', String(server.port), ...args])

    test('submits foreground and background jobs that our workers run', async () => {
      const received: unknown[] = []
      const task = queueJob(at(), (_worker, job: { data: unknown }) => {
        received.push(job.data)
        return 'done'
      })
      await startWorker([task])
      expect((await run('-f', task.queue, '{"from":"tool"}')).stdout).toBe('"done"')
      await run('-b', '-f', task.queue, '[1]')
      await eventually(() => received.length === 2)
      expect(received).toEqual([{ from: 'tool' }, [1]])
    })

    test('runs our jobs', async () => {
      const name = queueName()
      const worker = spawn('gearman', ['-h', '127.0.0.1', '-p', String(server.port), '-w', '-f', name, '--', 'cat'])
      onTestFinished(() => void worker.kill('SIGKILL'))
      const task = remoteTask(name, { server: plugin, connection: server.url })
      expect(await task.call({ through: 'cat' }, { timeoutMs: 120_000 })).toEqual({ through: 'cat' })
    })
  })
})

test('abraxas serves as a job server without text commands', async () => {
  const listening = abraxas.Server.listen({ port: await freePort(), host: '127.0.0.1' })
  onTestFinished(() => listening.shutdown())
  await once(listening.socket, 'listening')
  const { port } = listening.socket.address()
  const broker = await openBroker(`127.0.0.1:${port}`)
  const queue = queueName()
  const consumer = await consume(broker, queue)
  const stored = await broker.publish([message(queue, '1'), message(queue, '2', { headers: { 'x-note': 'ü' } })])
  expect(stored).toEqual([{ status: 'stored' }, { status: 'stored' }])
  const deliveries = await receive(consumer, 2)
  expect(deliveries.map(textOf).toSorted()).toEqual(['1', '2'])
  expect(await consumer.ack(deliveries)).toEqual([{ status: 'ok' }, { status: 'ok' }])
  const call = broker.calls?.call(message(queue, '3'), {
    signal: AbortSignal.timeout(120_000),
    onUpdate: () => {},
  })
  const [called] = await receive(consumer, 1)
  await broker.calls?.answer(called === undefined ? [] : [{ delivery: called, body: Buffer.from('"done"') }])
  expect(await call).toMatchObject({ status: 'done' })
})

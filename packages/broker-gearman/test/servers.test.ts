import { once } from 'node:events'
import { createConnection } from 'node:net'
import { FaultProxy } from '@zyqueue/broker-test-kit'
import { producers, queueJob } from '@zyqueue/core'
import type { TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import plugin from '../src/index.ts'
import { delayedFunction } from '../src/functions.ts'
import {
  consume,
  eventually,
  message,
  openBroker,
  ownServer,
  queueName,
  receive,
  startWorker,
  textOf,
} from './support.ts'

const never = new AbortController().signal

async function admin(server: TestServer, command: string): Promise<string> {
  const socket = createConnection({ port: server.port, host: '127.0.0.1' })
  socket.write(`${command}\r\n`)
  const [answer] = await once(socket, 'data')
  socket.destroy()
  return String(answer)
}

await describeWithServer('gearmand', 'servers that fail', () => {
  afterAll(() => producers.close())

  test('with a persistent queue, ready, delayed and dead jobs survive a SIGKILL', async () => {
    const server = await ownServer({})
    const queue = queueName()
    const broker = await openBroker(server.url)
    await broker.declare([{ name: queue, options: {} }])
    const consumer = await consume(broker, queue)
    await broker.publish([message(queue, 'dies')])
    const [dies] = await receive(consumer, 1)
    if (dies === undefined) throw new Error('nothing received')
    await consumer.reject([{ delivery: dies, reason: 'ZYQ_JOB_FAILED: no' }])
    await consumer.close()
    await broker.publish([
      message(queue, 'ready'),
      message(queue, 'later', { delayMs: 500 }),
      message(queue, 'in a day', { delayMs: 86_400_000 }),
    ])
    await server.kill('SIGKILL')
    await server.restart()
    const again = await openBroker(server.url)
    expect((await receive(await consume(again, queue), 2)).map(textOf).toSorted()).toEqual(['later', 'ready'])
    expect(await again.admin.deadLetters.list(queue, { limit: 10 })).toMatchObject([{ reason: 'ZYQ_JOB_FAILED: no' }])
    expect(await again.admin.queues()).toMatchObject([{ name: queue, delayed: 1, dead: 1 }])
  })

  test('a worker goes on when its server is restarted', async () => {
    const server = await ownServer({})
    const ran = new Set<number>()
    const task = queueJob(
      { name: queueName(), server: plugin, connection: server.url },
      (_worker, job: { data: number }) => {
        ran.add(job.data)
      },
    )
    await startWorker([task])
    await task.submit([1, 2, 3], { batch: true })
    await eventually(() => ran.size === 3)
    await server.kill('SIGKILL')
    await server.restart()
    await task.submit([4, 5], { batch: true })
    await eventually(() => ran.size === 5)
  })

  test('a silent server is given up: pending calls settle, as unknown if they were sent', async () => {
    const server = await ownServer()
    const proxy = await FaultProxy.start(server.port)
    onTestFinished(() => proxy.close())
    const queue = queueName()
    const broker = await openBroker(`127.0.0.1:${proxy.port}`)
    const consumer = await consume(broker, queue)
    await broker.publish([message(queue, 'held')])
    const [held] = await receive(consumer, 1)
    if (held === undefined) throw new Error('nothing received')
    proxy.fault = 'stall'
    const [published, acked, received, called] = await Promise.all([
      broker.publish([message(queue, 'swallowed')]),
      consumer.ack([held]),
      eventually(async () => {
        try {
          await consumer.receive(1, { signal: never })
          return undefined
        } catch (error) {
          return broker.errorCode(error)
        }
      }),
      broker.calls?.call(message(queue, 'call'), { signal: never, onUpdate: () => {} }),
    ])
    expect([published[0]?.status, acked[0]?.status, received, called?.status]).toEqual([
      'unknown',
      'unknown',
      'ZYQ_CONNECTION_LOST',
      'unknown',
    ])
    proxy.fault = 'pass'
    await broker.connect()
    expect(await broker.publish([message(queue, 'after')])).toEqual([{ status: 'stored' }])
  })

  test.each(['truncate', 'cut', 'reset', 'trickle'] as const)(
    'no stored job is lost by the fault %s of a connection',
    async (fault) => {
      const server = await ownServer()
      const proxy = await FaultProxy.start(server.port)
      onTestFinished(() => proxy.close())
      const queue = queueName()
      const broker = await openBroker(`127.0.0.1:${proxy.port}`)
      const bodies = Array.from({ length: 40 }, (_, index) => `job ${index}`)
      expect(await broker.publish([message(queue, 'before')])).toEqual([{ status: 'stored' }])
      proxy.fault = fault
      const results = await Promise.all(
        bodies.map((body) => broker.publish([message(queue, body)]).catch(() => [{ status: 'refused' }])),
      )
      proxy.fault = 'pass'
      const straight = await openBroker(server.url)
      const waiting = async () => (await straight.admin.queues()).find(({ name }) => name === queue)?.ready ?? 0
      const count = await waiting()
      const found = new Set((await receive(await consume(straight, queue), count)).map(textOf))
      for (const [index, [result]] of results.entries()) {
        if (result?.status === 'stored') expect(found).toContain(bodies[index])
        if (result?.status === 'refused') expect(found).not.toContain(bodies[index])
      }
    },
  )
})

/** Publishes until all servers are connected. From then on, jobs are spread over all. */
async function untilOnAll(
  servers: readonly TestServer[],
  publish: (queue: string) => Promise<unknown>,
  queue: string = queueName(),
): Promise<void> {
  await eventually(async () => {
    await publish(queue)
    const lists = await Promise.all(servers.map((server) => admin(server, 'status')))
    return lists.every((list) => list.includes(`${queue}\t`))
  })
}

await describeWithServer('gearmand', 'several servers', () => {
  test('jobs are spread over the servers, and a worker takes from all', async () => {
    const servers = [await ownServer(), await ownServer()]
    const queue = queueName()
    const broker = await openBroker(...servers.map(({ url }) => url))
    await untilOnAll(servers, (probe) => broker.publish([message(probe, '1'), message(probe, '2')]))
    await broker.publish(Array.from({ length: 10 }, (_, index) => message(queue, `${index}`)))
    for (let index = 10; index < 20; index++) await broker.publish([message(queue, `${index}`)])
    for (const server of servers) expect(await admin(server, 'status')).toContain(`${queue}\t10\t0\t0`)
    const deliveries = await receive(await consume(broker, queue), 20)
    expect(
      deliveries
        .map(textOf)
        .map(Number)
        .toSorted((a, b) => a - b),
    ).toEqual(Array.from({ length: 20 }, (_, index) => index))
  })

  test('if a server dies, work goes on with the others, and the worker connects to it again', async () => {
    const [stays, dies] = [await ownServer({}), await ownServer({})]
    const name = queueName()
    const ran = new Set<number>()
    const connection = `${stays.url.replace('gearman://', '')},${dies.url.replace('gearman://', '')}`
    const task = queueJob({ name, server: plugin, connection }, async (_worker, job: { data: number }) => {
      await new Promise((resolve) => setTimeout(resolve, 2))
      ran.add(job.data)
    })
    const count = 100
    await untilOnAll([stays, dies], () => task.submit([0, 1], { batch: true }), name)
    await task.submit(
      Array.from({ length: count }, (_, index) => index),
      { batch: true },
    )
    await startWorker([task], { concurrency: 2 })
    await eventually(() => ran.size > 10)
    await dies.kill('SIGKILL')
    // Half of the jobs are on the other server, and new jobs go there.
    await eventually(() => ran.size >= count / 2)
    const late: Promise<unknown>[] = []
    for (let index = count; index < count + 10; index++) late.push(task.submit(index))
    const outcomes = await Promise.allSettled(late)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'ZYQ_OUTCOME_UNKNOWN' })
    }
    await dies.restart()
    const stored = outcomes.flatMap((outcome, index) => (outcome.status === 'fulfilled' ? [count + index] : []))
    await eventually(() => ran.size >= count && stored.every((data) => ran.has(data)))
    const broker = await openBroker(stays.url, dies.url)
    await eventually(async () => (await broker.admin.workers?.())?.length === 2)
  })

  test('a server may be away at the start', async () => {
    const [stays, late] = [await ownServer(), await ownServer()]
    await late.kill('SIGKILL')
    const queue = queueName()
    const broker = await openBroker(stays.url, late.url)
    const consumer = await consume(broker, queue)
    expect(await broker.publish([message(queue, '1'), message(queue, '2')])).toEqual([
      { status: 'stored' },
      { status: 'stored' },
    ])
    expect(await receive(consumer, 2)).toHaveLength(2)
    await late.restart()
    const direct = await openBroker(late.url)
    await direct.publish([message(queue, 'there')])
    expect((await receive(consumer, 1)).map(textOf)).toEqual(['there'])
    expect(await broker.admin.check()).toEqual(expect.arrayContaining([expect.objectContaining({ level: 'note' })]))
  })

  test('if no server answers, every call rejects as unreachable', async () => {
    const server = await ownServer()
    await server.kill('SIGKILL')
    const broker = plugin.create({ connection: server.url, baseDir: '/' })
    for (const call of [
      () => broker.connect(),
      () => consume(broker, 'q'),
      () => broker.declare([{ name: 'q', options: {} }]),
      () => broker.admin.version(),
    ]) {
      const error: unknown = await call().catch((thrown: unknown) => thrown)
      expect(broker.errorCode(error)).toBe('ZYQ_UNREACHABLE')
    }
    await broker.close()
  })
})

await describeWithServer('gearmand', 'jobs that are not ready', () => {
  test('a delayed job waits in the server, without workers', async () => {
    const server = await ownServer()
    const queue = queueName()
    const producer = await openBroker(server.url)
    const since = Date.now()
    await producer.publish([
      message(queue, 'later', { delayMs: 1_500 }),
      message(queue, 'much later', { delayMs: 9_000 }),
    ])
    await producer.close()
    for (let worker = 0; worker < 2; worker++) {
      const broker = await openBroker(server.url)
      await (await consume(broker, queue)).receive(1, { signal: AbortSignal.timeout(100) })
      await broker.close()
    }
    const broker = await openBroker(server.url)
    const consumer = await consume(broker, queue)
    expect((await receive(consumer, 1)).map(textOf)).toEqual(['later'])
    expect(Date.now() - since).toBeGreaterThanOrEqual(1_500)
    expect((await receive(consumer, 1)).map(textOf)).toEqual(['much later'])
    expect(Date.now() - since).toBeGreaterThanOrEqual(9_000)
  })

  test('functions of delayed jobs are dropped when their time is over and they are empty', async () => {
    const server = await ownServer()
    const queue = queueName()
    const hourAgo = Date.now() - 3_600_000
    const overdue = message(queue, 'overdue')
    const broker = await openBroker(server.url)
    await broker.publish([{ ...overdue, queue: 'elsewhere' }])
    await admin(server, `create function ${delayedFunction(queue, hourAgo)}`)
    await admin(server, `create function ${delayedFunction(queue, Date.now() + 3_600_000)}`)
    await consume(broker, queue)
    await eventually(async () => !(await admin(server, 'status')).includes(`:${hourAgo}:`))
    expect(await admin(server, 'status')).toContain('zyq:delayed:')
  })

  test('a busy worker serves delayed jobs too, and withdraws from their functions when they are empty', async () => {
    const server = await ownServer()
    const queue = queueName()
    const broker = await openBroker(server.url)
    const consumer = await consume(broker, queue)
    const refill = () => broker.publish(Array.from({ length: 50 }, () => message(queue, 'now')))
    await broker.publish([message(queue, 'later', { delayMs: 300 })])
    await refill()
    const seen: string[] = []
    await eventually(async () => {
      const deliveries = await receive(consumer, 20)
      seen.push(...deliveries.map(textOf).filter((text) => text === 'later'))
      await refill()
      await consumer.ack(deliveries)
      return seen.length > 0 && /zyq:delayed:\S+\t0\t0\t0/.test(await admin(server, 'status'))
    })
    expect(seen).toEqual(['later'])
  })

  test('a full queue refuses jobs', async () => {
    const server = await ownServer()
    const queue = queueName()
    const broker = await openBroker(server.url)
    await broker.declare([{ name: queue, options: {} }])
    await broker.admin.limit?.(queue, 2)
    const results = await broker.publish([1, 2, 3].map((body) => message(queue, `${body}`)))
    expect(results.map(({ status }) => status)).toEqual(['stored', 'stored', 'refused'])
    expect(broker.errorCode(results[2]?.status === 'refused' && results[2].error)).toBe('ZYQ_BROKER_FULL')
  })

  describe('administration', () => {
    test('if a server does not know shutdown, the error says what to do', async () => {
      const server = await ownServer()
      const broker = await openBroker(server.url)
      await expect(broker.admin.shutdown?.()).rejects.toThrow(/SIGTERM/)
    })

    test('queues() returns only the named queues that exist', async () => {
      const server = await ownServer()
      const broker = await openBroker(server.url)
      await broker.declare(['a', 'b'].map((name) => ({ name, options: {} })))
      await broker.publish([message('a', '1'), message('a', '2', { delayMs: 60_000 })])
      const named = await broker.admin.queues(['a', 'c'])
      expect(named).toMatchObject([{ name: 'a', ready: 1, delayed: 1, details: { high: 0, normal: 1, low: 0 } }])
      expect(named).toHaveLength(1)
      expect((await broker.admin.queues()).map(({ name }) => name).toSorted()).toEqual(['a', 'b'])
      expect(await broker.admin.queues([])).toEqual([])
    })

    test('workers are listed with their addresses', async () => {
      const server = await ownServer()
      const broker = await openBroker(server.url)
      await consume(broker, ['a', 'b'], { client: { name: 'tasks.ts.1', host: 'web', pid: 7 } })
      // gearmand processes the announcements of another connection later, one queue after the other.
      await eventually(async () => (await broker.admin.workers?.())?.some(({ queues }) => queues.length >= 2))
      expect(await broker.admin.workers?.()).toEqual([
        {
          id: expect.stringMatching(/:\d+\/\d+$/),
          client: { name: 'tasks.ts.1', host: 'web', pid: 7 },
          queues: expect.arrayContaining(['a', 'b']),
          details: { ip: '127.0.0.1', file_descriptor: expect.any(Number) },
        },
      ])
    })
  })
})

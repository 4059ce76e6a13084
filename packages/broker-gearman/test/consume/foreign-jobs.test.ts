/** Jobs that other programs submit. */
import { createLogger, queueJob, Reject, type AnyTask } from '@zyqueue/core'
import { ensureInstalled } from '@zyqueue/test-servers'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startJobServer } from '../../src/server/index.ts'
import plugin from '../../src/index.ts'
import { consume, gearman, openBroker, ownServer, queueName, receive, startWorker, textOf } from '../support.ts'

const tool = await ensureInstalled('gearman')

async function startOwnServer(): Promise<{ readonly url: string }> {
  const server = await startJobServer({ port: 0 })
  onTestFinished(() => server.close())
  return { url: `gearman://127.0.0.1:${server.port}` }
}

interface Failure {
  readonly what: string
  readonly body: string
  readonly reason: string
  readonly tasks: (queue: string, connection: string) => readonly AnyTask[]
}

const failures: readonly Failure[] = [
  {
    what: 'is not JSON',
    body: 'not JSON',
    reason: 'ZYQ_DECODE: The body is not JSON',
    tasks: (name, connection) => [queueJob({ name, server: plugin, connection }, () => undefined)],
  },
  {
    what: 'is rejected by its handler',
    body: '{}',
    reason: 'no such picture',
    tasks: (name, connection) => [
      queueJob({ name, server: plugin, connection }, () => {
        throw new Reject('no such picture')
      }),
    ],
  },
  {
    what: 'fails and has no retries',
    body: '{}',
    reason: 'no luck',
    tasks: (name, connection) => [
      queueJob({ name, server: plugin, connection, retries: 0 }, () => {
        throw new Error('no luck')
      }),
    ],
  },
  {
    what: 'fails and has retries',
    body: '{}',
    reason: 'no luck',
    tasks: (name, connection) => [
      queueJob({ name, server: plugin, connection, retries: 5 }, () => {
        throw new Error('no luck')
      }),
    ],
  },
  {
    what: 'belongs to no task of its queue',
    body: '{}',
    reason: 'ZYQ_TASK_UNKNOWN',
    tasks: (queue, connection) =>
      ['a', 'b'].map((name) =>
        queueJob({ name: `${queue}-${name}`, queue, server: plugin, connection }, () => undefined),
      ),
  },
]

describe.skipIf(!tool.installed).each([
  ['gearmand', () => ownServer()],
  ['our own server', startOwnServer],
])('a foreground job of the gearman tool, on %s', (_server, start) => {
  test.each(failures)('that $what ends with the reason', async ({ body, reason, tasks }) => {
    const { url } = await start()
    const queue = queueName()
    const lines: string[] = []
    const logger = createLogger({ format: 'json', destination: { write: (line: string) => lines.push(line) } })
    await startWorker(tasks(queue, url), { logger })
    const run = await gearman(url, '-f', queue, '-u', queueName(), body)
    expect(run).toMatchObject({ hangs: false, code: 1, output: expect.stringContaining(reason) })
    const broker = await openBroker(url)
    expect((await broker.admin.queues()).find(({ name }) => name === queue)).toMatchObject({
      ready: 0,
      delayed: 0,
      dead: 0,
    })
    const log = lines.join('')
    expect(log).toContain('reported to its caller')
    expect(log).not.toMatch(/dead letters|retrying/)
  })
})

describe.skipIf(!tool.installed)('the id of a foreign job', () => {
  async function idsOf(url: string, submissions: readonly (readonly string[])[]): Promise<readonly string[]> {
    const queue = 'always-the-same'
    const consumer = await consume(await openBroker(url), queue)
    const ids: string[] = []
    for (const submission of submissions) {
      expect(await gearman(url, '-b', '-f', queue, ...submission)).toMatchObject({ code: 0 })
      const deliveries = await receive(consumer, 1)
      ids.push(...deliveries.map(({ id }) => id))
      expect(await consumer.ack(deliveries)).toEqual([{ status: 'ok' }])
    }
    await consumer.close()
    return ids
  }

  const submissions = [
    ['-u', '-', '{"n":1}'],
    ['-u', '-', '{"n":1}'],
    ['-u', 'order', '{"n":1}'],
    ['-u', 'order', '{"n":1}'],
    ['{"n":1}'],
    ['{"n":1}'],
  ]

  test('is different for each submission, also after gearmand has restarted and uses its handles again', async () => {
    const server = await ownServer()
    const before = await idsOf(server.url, submissions)
    await server.kill('SIGKILL')
    await server.restart()
    const ids = [...before, ...(await idsOf(server.url, submissions))]
    expect(ids).toHaveLength(2 * submissions.length)
    expect(new Set(ids).size).toBe(ids.length)
    for (const id of ids) expect(id).toMatch(/^[!-~]{1,63}$/)
  })

  test('is different for each submission to our own server', async () => {
    const ids = [
      ...(await idsOf((await startOwnServer()).url, submissions)),
      ...(await idsOf((await startOwnServer()).url, submissions)),
    ]
    expect(new Set(ids).size).toBe(2 * submissions.length)
  })

  test('is not the unique `-`, which stands for the payload: jobs with different payloads wait at the same time', async () => {
    const { url } = await startOwnServer()
    const queue = queueName()
    for (const body of ['1', '2', '2']) await gearman(url, '-b', '-f', queue, '-u', '-', body)
    const consumer = await consume(await openBroker(url), queue)
    const deliveries = await receive(consumer, 2)
    expect(deliveries.map(textOf)).toEqual(['1', '2'])
    expect(await consumer.receive(1, { signal: new AbortController().signal })).toEqual([])
  })
})

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { producers, remoteTask } from '@zyqueue/core'
import { createSupervisor, type SupervisorOptions } from '@zyqueue/core/supervisor'
import { ensureInstalled, startGearmand, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { parseAddresses } from '../../src/options.ts'
import { TextConnection } from '../../src/connection/text-connection.ts'
import { eventually, gearman, openBroker, queueName } from '../support.ts'

const tool = await ensureInstalled('gearman')

/** The path that worker processes import. */
const server = fileURLToPath(new URL('../../dist/index.js', import.meta.url))
const taskFile = fileURLToPath(new URL('../children/tasks.js', import.meta.url))

await describeWithServer('gearmand', 'under a supervisor', () => {
  let gearmand: TestServer
  beforeAll(async () => {
    gearmand = await startGearmand({ persistent: false })
  })
  afterAll(async () => {
    await producers.close()
    await gearmand.stop()
  })

  function supervise(queue: string, options: Partial<SupervisorOptions> = {}) {
    const folder = mkdtempSync(join(tmpdir(), 'zyqueue-gearman-'))
    const notes = join(folder, 'notes')
    vi.stubEnv('NOTES', notes)
    vi.stubEnv('QUEUE', queue)
    const supervisor = createSupervisor({
      taskFile,
      server,
      connection: gearmand.url,
      workerLog: { level: 'silent' },
      ...options,
    })
    const ended = supervisor.run()
    onTestFinished(async () => {
      supervisor.stop()
      await ended
      vi.unstubAllEnvs()
      rmSync(folder, { recursive: true, force: true })
    })
    const lines = (): string[] => (existsSync(notes) ? readFileSync(notes, 'utf8').split('\n').slice(0, -1) : [])
    return { supervisor, lines }
  }

  const task = (name: string) => remoteTask(name, { server, connection: gearmand.url })

  test('a job that kills its workers becomes a dead letter, and no other job counts a lost delivery', async () => {
    const queue = queueName()
    const broker = await openBroker(gearmand.url)
    await task(`${queue}-poison`).submit(['poison', ...Array.from({ length: 20 }, (_, index) => index)], {
      batch: true,
    })
    const { lines } = supervise(queue, { maxWorkers: 1, concurrency: 1 })
    const dead = () => broker.admin.deadLetters.list(`${queue}-poison`, { limit: 10 })
    await eventually(async () => (await dead()).length > 0)
    expect(await dead()).toMatchObject([{ reason: expect.stringMatching(/^ZYQ_JOB_POISON: 3 deliveries were lost/) }])
    await eventually(() => lines().filter((line) => !line.startsWith('poison poison')).length >= 20)
    expect(lines().filter((line) => line.startsWith('poison poison'))).toEqual(
      [0, 1, 2].map((n) => `poison poison ${n}`),
    )
    expect(new Set(lines().filter((line) => !line.startsWith('poison poison')))).toEqual(
      new Set(Array.from({ length: 20 }, (_, index) => `poison ${index} 0`)),
    )
    // The notes about its lost deliveries are deleted.
    const address = parseAddresses(gearmand.url)[0]
    if (address === undefined) throw new Error('no address')
    const text = await TextConnection.open(address, new AbortController().signal)
    onTestFinished(() => text.close())
    await eventually(async () => (await text.list('status')).includes('zyq:lost\t0\t0\t0'))
  })

  test('a job that exceeds its hard timeout is killed, retried and dead-lettered', async () => {
    const queue = queueName()
    const broker = await openBroker(gearmand.url)
    await task(`${queue}-slow`).submit('x')
    const { lines } = supervise(queue, { maxWorkers: 1, concurrency: 4 })
    const dead = () => broker.admin.deadLetters.list(`${queue}-slow`, { limit: 10 })
    await eventually(async () => (await dead()).length > 0)
    expect(await dead()).toMatchObject([
      { reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT: .*hard timeout/), headers: { 'zyq-attempts-made': '2' } },
    ])
    expect(lines()).toEqual(['slow 1 0', 'slow 2 1'])
  })

  describe.skipIf(!tool.installed)('jobs of the gearman tool', () => {
    test.each([['-'], ['order'], [undefined]])(
      'with the unique %s: a job that kills its workers becomes a dead letter, and the others run',
      async (unique) => {
        const queue = queueName()
        const function_ = `${queue}-poison`
        const broker = await openBroker(gearmand.url)
        const submit = (body: string) =>
          gearman(gearmand.url, '-b', '-f', function_, ...(unique === undefined ? [] : ['-u', unique]), body)
        await submit('"poison"')
        // gearmand joins jobs that have the same unique.
        if (unique !== 'order') for (const body of ['1', '2', '3']) await submit(body)
        const { lines } = supervise(queue, { maxWorkers: 1, concurrency: 1 })
        const dead = () => broker.admin.deadLetters.list(function_, { limit: 10 })
        await eventually(async () => (await dead()).length > 0)
        expect(await dead()).toMatchObject([
          { reason: expect.stringMatching(/^ZYQ_JOB_POISON: 3 deliveries were lost/) },
        ])
        const neighbours = unique === 'order' ? [] : ['poison 1 0', 'poison 2 0', 'poison 3 0']
        const killed = [0, 1, 2].map((count) => `poison poison ${count}`)
        await eventually(() => lines().length >= killed.length + neighbours.length)
        expect(lines().toSorted()).toEqual([...neighbours, ...killed])
      },
    )

    test('a client that waits for a job that kills its workers gets the reason', async () => {
      const queue = queueName()
      supervise(queue, { maxWorkers: 1, concurrency: 1 })
      const run = await gearman(gearmand.url, '-f', `${queue}-poison`, '-u', queueName(), '"poison"')
      expect(run).toMatchObject({ hangs: false, code: 1, output: expect.stringContaining('ZYQ_JOB_POISON') })
    })

    test('a client that waits for a job that exceeds its hard timeout gets the reason', async () => {
      const queue = queueName()
      supervise(queue, { maxWorkers: 1, concurrency: 1 })
      const run = await gearman(gearmand.url, '-f', `${queue}-slow`, '-u', queueName(), '"x"')
      expect(run).toMatchObject({ hangs: false, code: 1, output: expect.stringContaining('ZYQ_JOB_TIMEOUT') })
    })
  })

  test('each of many jobs runs to its end, although some fail once', async () => {
    const queue = queueName()
    const count = 400
    await task(`${queue}-plain`).submitMany(Array.from({ length: count }, (_, index) => index))
    const { lines } = supervise(queue, { maxWorkers: 2, burst: false })
    await eventually(() => lines().length >= count)
    expect(lines().toSorted()).toEqual(Array.from({ length: count }, (_, index) => `plain ${index}`).toSorted())
  })
})

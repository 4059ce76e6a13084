/** Runs the built `zyqueue` command in a project with this broker. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { consume, message, openBroker, openClient, receive } from './support.ts'

const packages = fileURLToPath(new URL('../../', import.meta.url))

const TASKS = `
import { appendFileSync } from 'node:fs'
import { queueJob } from '@zyqueue/core'

export const resize = queueJob({ server: 'redis', connection: process.env.WHERE, retries: 0 }, async function resize(worker, job) {
  if (job.data.file === 'broken.png') throw new Error('cannot be read')
  appendFileSync('done.txt', job.data.file + '\\n')
})

export const mail = queueJob({ server: 'redis', connection: process.env.WHERE }, async function mail(worker, job) {
  appendFileSync('sent.txt', job.data.to + '\\n')
})
`

await describeWithServer('redis', 'zyqueue', () => {
  let server: TestServer
  let folder: string
  let url: string
  beforeAll(async () => {
    server = await startRedis({ config: 'requirepass s3cret-word' })
    url = `redis://:s3cret-word@127.0.0.1:${server.port}`
    folder = mkdtempSync(join(tmpdir(), 'zyqueue-redis-'))
    mkdirSync(join(folder, 'node_modules', '@zyqueue'), { recursive: true })
    for (const name of ['core', 'broker-redis']) {
      symlinkSync(join(packages, name), join(folder, 'node_modules', '@zyqueue', name), 'junction')
    }
    writeFileSync(join(folder, 'package.json'), '{"type":"module","dependencies":{"@zyqueue/broker-redis":"*"}}')
    writeFileSync(join(folder, 'tasks.js'), TASKS)
  })
  afterAll(async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  function zyqueue(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      const options = { cwd: folder, timeout: 600_000, env: { ...process.env, WHERE: url } }
      execFile(
        process.execPath,
        [join(packages, 'cli', 'dist', 'bin.js'), ...args],
        options,
        (error, stdout, stderr) => {
          expect(stdout + stderr).not.toContain('s3cret')
          resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
        },
      )
    })
  }

  test('worker processes run submitted jobs, and old and new forms of the commands show them', async () => {
    for (const file of ['a.png', 'b.png', 'broken.png']) {
      const submitted = await zyqueue('submit', 'resize', JSON.stringify({ file }), '--task-file', 'tasks.js')
      expect(submitted).toMatchObject({ code: 0 })
    }
    const before = ['-S', 'redis', '-C', url]
    expect((await zyqueue(...before, '--status')).stdout).toMatch(/resize\D+3/)
    expect((await zyqueue(...before, '--queues')).stdout).toMatch(/resize/)
    expect(JSON.parse((await zyqueue(...before, '--queue', 'resize', '--json')).stdout)).toMatchObject({
      broker: 'redis',
      queues: [{ name: 'resize', ready: 3, active: 0, delayed: 0, dead: 0, workers: 0 }],
    })

    const worked = await zyqueue('work', '--task-file', 'tasks.js', '--max-workers', '2', '--burst')
    expect(worked).toMatchObject({ code: 0 })
    expect(readFileSync(join(folder, 'done.txt'), 'utf8').trim().split('\n').toSorted()).toEqual(['a.png', 'b.png'])
    expect((await zyqueue('dead', 'list', 'resize', '-C', url)).stdout).toMatch(/cannot be read/)

    expect(await zyqueue(...before, '--requeue_all')).toMatchObject({ code: 0 })
    const broker = await openBroker(url)
    await receive(await consume(broker, ['resize'], { client: { name: 'tasks.js.7', host: 'here', pid: 77 } }), 1)
    expect((await zyqueue(...before, '--workers')).stdout).toMatch(/tasks\.js\.7/)
    await broker.close()
    expect(await zyqueue(...before, '--empty_queue', 'resize')).toMatchObject({ code: 0 })
    expect(JSON.parse((await zyqueue('status', '-C', url, '--json')).stdout)).toMatchObject({
      queues: [{ name: 'mail' }, { name: 'resize', ready: 0, dead: 0 }],
    })
  })

  test('values of another program become dead letters, and jobs run', async () => {
    const client = openClient(url)
    const broker = await openBroker(url)
    await broker.publish([
      message('resize', 'job-1', { body: Buffer.from('{"file":"c.png"}') }),
      message('mail', 'job-2', { body: Buffer.from('{"to":"a@example.org"}') }),
    ])
    for (const value of ['{"file":"d.png","written":"by another program"}', 'abc']) {
      await client.lpush('zyqueue:{resize}:ready', value)
    }
    expect(await zyqueue('work', '--task-file', 'tasks.js', '--burst')).toMatchObject({ code: 0 })
    expect(readFileSync(join(folder, 'done.txt'), 'utf8')).toContain('c.png')
    expect(readFileSync(join(folder, 'sent.txt'), 'utf8')).toContain('a@example.org')
    const { stdout } = await zyqueue('dead', 'list', 'resize', '-C', url)
    expect(stdout.match(/ZYQ_DECODE/g)).toHaveLength(2)
    expect(await client.llen('zyqueue:{resize}:ready')).toBe(0)
  })

  test('doctor warns about a user without channels and exits with 0', async () => {
    await openClient(url).call('ACL', 'SETUSER', 'app', 'on', '>s3cret-pw', '~*', '+@all')
    const doctor = await zyqueue('doctor', '-C', `redis://app:s3cret-pw@127.0.0.1:${server.port}`)
    expect(doctor).toMatchObject({ code: 0, stdout: expect.stringContaining('ACL SETUSER app &zyqueue:wake:*') })
  })

  test('doctor and starting workers report an eviction policy that deletes jobs', async () => {
    const admin = openClient(url)
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru')
    const doctor = await zyqueue('doctor', '-C', url)
    expect(doctor.code).not.toBe(0)
    expect(doctor.stdout).toMatch(/allkeys-lru/)
    const worked = await zyqueue('work', '--task-file', 'tasks.js', '--burst')
    expect(worked.stdout + worked.stderr).toMatch(/allkeys-lru/)
    await admin.config('SET', 'maxmemory-policy', 'noeviction')
    expect(await zyqueue('doctor', '-C', url)).toMatchObject({ code: 0 })
  })

  test('a key of the wrong type is named with its queue, and the remedy fits Redis', async () => {
    await (await openBroker(url)).declare([{ name: 'odd', options: {} }])
    await openClient(url).set('zyqueue:{odd}:died', 'text')
    const listed = await zyqueue('dead', 'list', 'odd', '-C', url)
    expect(listed.code).not.toBe(0)
    expect(listed.stderr).toContain('The Redis key zyqueue:{odd}:died of the queue "odd" is a string')
    expect(listed.stderr).toContain('another path or prefix')
    expect(listed.stderr).not.toMatch(/queue file/)
  })

  test('doctor reports ZYQ_AUTH for a wrong password', async () => {
    const wrong = await zyqueue('doctor', '-C', `redis://:s3cret-guess@127.0.0.1:${server.port}`)
    // 3 would mean that the server cannot be reached.
    expect(wrong.code).toBe(1)
    expect(wrong.stdout + wrong.stderr).toMatch(/ZYQ_AUTH/)
    expect(wrong.stdout + wrong.stderr).not.toMatch(/unreachable|cannot be reached/)
  })
})

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeProject, packages, startZyqueue, until, zyqueue, type Project } from './project.ts'

const TASKS = `import { queueJob } from '@zyqueue/core'
export const hello = queueJob({}, async function hello(worker, job) {
  if (job.data === 'wait') await new Promise(() => {})
  return job.data
})
`

async function projectWithGearman(): Promise<Project> {
  return makeProject({
    manifest: { type: 'module' },
    files: { 'tasks.js': TASKS },
    link: { '@zyqueue/broker-gearman': join(packages, 'broker-gearman') },
  })
}

/** Starts `zyqueue gearmand`; resolves to its host and port. */
async function startJobServer(cwd: string, ...more: readonly string[]) {
  const { child, ended } = startZyqueue(['gearmand', '--port', '0', '--json', ...more], { cwd })
  let text = ''
  child.stdout?.on('data', (chunk) => (text += String(chunk)))
  const line = await until('the server', () => (text.includes('\n') ? text : undefined))
  const { connection }: { connection: string } = JSON.parse(line)
  return { place: connection.replace('gearman://', ''), child, ended }
}

test.each([
  ['0.0.0.0', /^zyqueue: warning: the job server has no password.* 0\.0\.0\.0:\d+/],
  ['localhost', /^$/],
])('gearmand on %s warns if other hosts may reach it', async (host, warning) => {
  const { dir } = await projectWithGearman()
  const { child, ended } = await startJobServer(dir, '--host', host)
  child.kill('SIGTERM')
  expect(await ended).toMatchObject({ code: 0, stderr: expect.stringMatching(warning) })
})

test('gearmand serves the commands, also in their old form with its columns', async () => {
  const { dir } = await projectWithGearman()
  const { place, ended } = await startJobServer(dir)
  const original = async (...flags: readonly string[]) => {
    const { code, stdout } = await zyqueue(['-S', 'gearman', '-C', place, ...flags], { cwd: dir })
    expect(code).toBe(0)
    return stdout
  }
  const work = startZyqueue(['work', '--task-file', 'tasks.js', '--max-workers', '1', '-S', 'gearman', '-C', place], {
    cwd: dir,
  })
  await until('the worker', async () => ((await original('--workers')).includes('tasks.js.1') ? true : undefined))
  for (const data of ['"wait"', '"done"']) {
    expect(await zyqueue(['submit', 'hello', data, '-C', `gearman://${place}`], { cwd: dir })).toMatchObject({
      code: 0,
    })
  }
  await until('one to run', async () => (/hello \| 0 +\| 1 +\| 1/.test(await original('--status')) ? true : undefined))
  expect(await original('--status')).toMatch(/\| queue +\| ready \| active \| workers \|/)
  const workers = await original('--workers')
  for (const column of ['ip', 'name', 'queues', 'file_descriptor']) expect(workers).toContain(` ${column} `)
  expect(workers).toContain('127.0.0.1')
  expect(await original('--gmversion')).toContain('1.1.18-zyqueue')
  expect(await zyqueue(['limit', 'hello', '10', '-S', 'gearman', '-C', place], { cwd: dir })).toMatchObject({
    code: 0,
    stdout: 'hello takes at most 10 waiting jobs.\n',
  })
  work.child.kill('SIGKILL')
  await original('--shutdown')
  expect(await ended).toMatchObject({ code: 0 })
})

test('gearmand says what to install if its package is missing', async () => {
  const { dir } = await makeProject({ files: {} })
  expect(await zyqueue(['gearmand'], { cwd: dir })).toMatchObject({
    code: 4,
    stdout: '',
    stderr: expect.stringContaining('npm install @zyqueue/broker-gearman'),
  })
})

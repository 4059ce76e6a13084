import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { makeProject, NODES, startZyqueue, until, zyqueue, type Project } from './project.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { queueJob } from '@zyqueue/core'
import { sizeOf, Unit } from './size'

interface Picture { readonly file: string }

export const resize = queueJob({ retries: 0 }, async function resize(_worker: unknown, job: { readonly data: Picture }) {
  if (job.data.file === 'broken.png') throw new Error('cannot be read')
  appendFileSync('done.ndjson', JSON.stringify([job.data.file, sizeOf(job.data.file), Unit.Bytes]) + '\\n')
  return true
})

export class Mail {
  @queueJob({ queue: 'letters' })
  static async deliver(_worker: unknown, job: { readonly data: { readonly to: string } }) {
    appendFileSync('done.ndjson', JSON.stringify(['mail', job.data.to]) + '\\n')
  }
}
`
const SIZE = `export enum Unit { Bytes = 'B' }\nexport const sizeOf = (file: string): number => file.length\n`

async function pictures(type: string): Promise<Project> {
  return makeProject({
    manifest: { type, dependencies: { '@zyqueue/core': '*', '@zyqueue/broker-sqlite': '*' } },
    files: { 'tasks.ts': TASKS, 'size.ts': SIZE },
  })
}

async function done(project: Project): Promise<readonly unknown[]> {
  const text = await readFile(project.path('done.ndjson'), 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line): unknown => JSON.parse(line))
}

describe.each(NODES)('%s', (node) => {
  test.each(['module', 'commonjs'])('jobs go through the embedded broker to worker processes (%s)', async (type) => {
    const project = await pictures(type)
    const options = { cwd: project.dir, node }
    const one = await zyqueue(['submit', 'resize', '{"file":"a.png"}', '--json'], options)
    expect(one).toMatchObject({ code: 0, stderr: expect.stringMatching(/^{"warning":.*No worker is connected/) })
    expect(JSON.parse(one.stdout)).toEqual({ id: expect.any(String), task: 'resize', queue: 'resize' })
    const input = `{"file":"bb.png"}\n\n{"file":"broken.png"}`
    const many = await zyqueue(['submit', 'resize', '--task-file', 'tasks.ts', '--json'], { ...options, input })
    expect(many).toMatchObject({ code: 0, stdout: '{"task":"resize","queue":"resize","stored":2}\n' })

    const work = await zyqueue(['work', '-f', 'tasks.ts', '-w', '2', '--burst', '--json'], options)
    expect(work).toMatchObject({ code: 0, stdout: '{"reason":"burst"}\n' })
    expect(await done(project)).toHaveLength(2)
    expect(await done(project)).toEqual(
      expect.arrayContaining([
        ['a.png', 5, 'B'],
        ['bb.png', 6, 'B'],
      ]),
    )

    const status = await zyqueue(['status', 'resize', '--json'], options)
    expect(JSON.parse(status.stdout)).toMatchObject({
      broker: 'sqlite',
      queues: [{ name: 'resize', ready: 0, dead: 1 }],
    })
    const dead = JSON.parse((await zyqueue(['dead', 'list', 'resize', '--json'], options)).stdout)
    expect(dead.queues.resize).toMatchObject([{ reason: expect.stringContaining('cannot be read') }])
    const again = await zyqueue(['dead', 'retry', 'resize', '--json'], options)
    expect(JSON.parse(again.stdout)).toEqual({ requeued: { resize: 1 } })
    const purged = await zyqueue(['purge', 'resize', '--yes', '--json'], options)
    expect(JSON.parse(purged.stdout)).toEqual({ queue: 'resize', purged: 1 })
  })
})

test('tasks shows what a file defines', async () => {
  const project = await pictures('module')
  const { stdout, stderr } = await zyqueue(['tasks', '-f', 'tasks.ts', '--json'], { cwd: project.dir })
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toMatchObject({
    taskFile: project.path('tasks.ts'),
    tasks: expect.arrayContaining([{ name: 'resize', queue: 'resize' }, expect.objectContaining({ queue: 'letters' })]),
  })
})

test('output of the task file, also later, does not mix with the JSON document', async () => {
  const source = `import { queueJob } from '@zyqueue/core'
console.log('now')
setImmediate(() => process.stdout.write('later\\n'))
export const t = queueJob({}, function t() {})`
  const project = await makeProject({ files: { 'tasks.mjs': source } })
  for (const command of ['tasks', 'submit t 1']) {
    const args = [...command.split(' '), '-f', 'tasks.mjs', '--json']
    const { stdout, stderr } = await zyqueue(args, { cwd: project.dir })
    expect(JSON.parse(stdout)).toMatchObject(command === 'tasks' ? { tasks: [{ name: 't' }] } : { task: 't' })
    expect(stderr).toContain('now\n')
    // `tasks` has exited by then.
    if (command !== 'tasks') expect(stderr).toContain('later\n')
  }
})

test('the error of a task file that throws names the source line', async () => {
  const project = await makeProject({
    files: { 'tasks.ts': `import './more'`, 'more.ts': `enum A { B }\n\nthrow new Error('no luck' + A.B)` },
  })
  const { code, stderr } = await zyqueue(['tasks', '-f', 'tasks.ts'], { cwd: project.dir })
  expect(code).toBe(1)
  expect(stderr).toContain('Error: no luck0')
  expect(stderr).toContain(`${project.path('more.ts')}:3:7`)
})

test('exits with 4 if the file does not define the task, and with 1 if it defines no task', async () => {
  const project = await makeProject({ files: { 'tasks.ts': TASKS, 'size.ts': SIZE, 'empty.ts': 'export {}' } })
  const unknown = await zyqueue(['submit', 'rezise', '1', '-f', 'tasks.ts'], { cwd: project.dir })
  expect(unknown).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('no task "rezise"; did you mean "resize"?'),
  })
  const empty = await zyqueue(['tasks', '-f', 'empty.ts'], { cwd: project.dir })
  expect(empty).toMatchObject({ code: 1, stderr: expect.stringContaining('defines no task') })
})

test('brokers lists the installed brokers and their capabilities', async () => {
  const project = await pictures('module')
  const { stdout } = await zyqueue(['brokers', '--json'], { cwd: project.dir })
  expect(JSON.parse(stdout).brokers).toEqual([
    expect.objectContaining({
      name: 'sqlite',
      packageName: '@zyqueue/broker-sqlite',
      capabilities: expect.objectContaining({ durable: true }),
    }),
  ])
})

test('brokers shows the error of a broken broker in its row, and lists the others', async () => {
  const create = `create: () => ({ capabilities: { durable: false }, close: async () => {} })`
  const fields = `kind: 'zyqueue.broker', apiVersion: 2, schemes: []`
  const sources = {
    // The CommonJS that compilers make of an ES module.
    compiled: `exports.__esModule = true; exports.default = { ${fields}, name: 'compiled', ${create} }`,
    uncreated: `module.exports = { ${fields}, name: 'uncreated', create() { throw new Error('not with redis://u:pass@h') } }`,
    broken: `throw new Error('no luck')`,
  }
  const files = Object.entries(sources).flatMap(([name, source]) => [
    [`node_modules/${name}/package.json`, JSON.stringify({ name, zyqueue: { type: 'broker' } })],
    [`node_modules/${name}/index.js`, source],
  ])
  const dependencies = Object.fromEntries(Object.keys(sources).map((name) => [name, '*']))
  const project = await makeProject({ manifest: { dependencies }, files: Object.fromEntries(files) })
  const { code, stdout, stderr } = await zyqueue(['brokers', '--json'], { cwd: project.dir })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(JSON.parse(stdout).brokers).toEqual([
    expect.objectContaining({ name: 'compiled', capabilities: { durable: false } }),
    expect.objectContaining({ name: 'uncreated', error: 'create() threw: not with redis://***@h' }),
    expect.objectContaining({ packageName: 'broken', error: expect.stringContaining('no luck') }),
    expect.objectContaining({ name: 'sqlite' }),
  ])
})

test('workers run until SIGTERM, and status shows them meanwhile', async () => {
  const project = await pictures('module')
  const { child, ended } = startZyqueue(['work', '-f', 'tasks.ts', '-w', '2'], { cwd: project.dir })
  await until('two workers', async () => {
    const { code, stdout } = await zyqueue(['workers', '--json'], { cwd: project.dir })
    return code === 0 && JSON.parse(stdout).workers.length === 2 ? true : undefined
  })
  await zyqueue(['submit', 'resize', '{"file":"c.png"}'], { cwd: project.dir })
  await until('the job', async () => ((await done(project)).length === 1 ? true : undefined))
  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
})

import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { errorsOf, makeProject, packages, startZyqueue, until, zyqueue, type Project } from './project.ts'

async function linesOf(project: Project, name: string): Promise<readonly string[]> {
  const text = await readFile(project.path(name), 'utf8').catch(() => '')
  return text.split('\n').filter((line) => line !== '')
}

const NOTING = `import { appendFileSync } from 'node:fs'
export const note = (text: string): void => appendFileSync('notes', text + '\\n')
`
const SLOW = `import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { queueJob } from '@zyqueue/core'
import { note } from './note'
export const slow = queueJob({}, async function slow() {
  note('started')
  while (!existsSync('go')) await sleep(20)
  note('finished')
})
export const other = queueJob({}, function other() {})
`

const ODD = `import { queueJob, Retry } from '@zyqueue/core'
const unreadable = Object.defineProperty(new Error('no stack'), 'stack', { get() { throw new Error('do not touch') } })
const late = Object.defineProperty(new Retry(), 'delayMs', { value: 5n })
export const odd = queueJob({ name: 'odd', retries: { limit: 1, minDelayMs: 1, maxDelayMs: 1 } }, (_worker, { data }) => {
  if (data === 'stack') throw unreadable
  if (data === 'made') throw new Retry({ delayMs: 5n })
  if (data === 'changed') throw late
  if (data === 'blanks') throw new Error('a' + ' '.repeat(80_000) + 'b')
  throw new Error('plain')
})
`

test.each(['pretty', 'json'])(
  'unusual thrown values become dead letters, and the worker goes on (%s)',
  async (format) => {
    const project = await makeProject({ files: { 'tasks.mjs': ODD } })
    const data = ['stack', 'made', 'changed', 'blanks', 'plain', 'plain']
    await zyqueue(['submit', 'odd', JSON.stringify(data)], { cwd: project.dir })
    const args = ['work', '-f', 'tasks.mjs', '-w', '1', '--burst', '--log-format', format]
    const { code, stderr } = await zyqueue(args, { cwd: project.dir })
    expect({ code, died: stderr.includes('worker ended') }).toEqual({ code: 0, died: false })
    const dead = await zyqueue(['dead', 'list', 'odd', '--json'], { cwd: project.dir })
    const letters: readonly { readonly reason: string }[] = JSON.parse(dead.stdout).queues.odd
    expect(letters.map(({ reason }) => reason.slice(0, 40)).toSorted()).toEqual([
      'ZYQ_CONFIG: ConfigError: Retry: delayMs ',
      'ZYQ_CONFIG: ConfigError: Retry: delayMs ',
      `ZYQ_JOB_FAILED: Error: a${' '.repeat(16)}`,
      'ZYQ_JOB_FAILED: Error: no stack',
      'ZYQ_JOB_FAILED: Error: plain',
      'ZYQ_JOB_FAILED: Error: plain',
    ])
  },
)

test('the log begins with the tasks, the number of processes, the broker and its file', async () => {
  const project = await makeProject({ files: { 'tasks.ts': SLOW, 'note.ts': NOTING } })
  const args = ['work', '-f', 'tasks.ts', '-w', '2', '--queues', 'slow', '--burst']
  const { code, stderr } = await zyqueue(args, { cwd: project.dir })
  const [starting, working] = stderr.split('\n').map((line): unknown => JSON.parse(line || 'null'))
  expect(code).toBe(0)
  expect(starting).toMatchObject({ msg: 'starting', taskFile: 'tasks.ts' })
  expect(working).toMatchObject({
    msg: 'workers are taking jobs',
    tasks: ['slow'],
    processes: 2,
    brokers: [`sqlite ${project.path('.zyqueue/queue.db')}`],
  })
})

test('the first signal lets running jobs finish and exits with 0', async () => {
  const project = await makeProject({ files: { 'tasks.ts': SLOW, 'note.ts': NOTING } })
  await zyqueue(['submit', 'slow', 'null'], { cwd: project.dir })
  const { child, ended } = startZyqueue(['work', '-f', 'tasks.ts', '-w', '1', '--json'], { cwd: project.dir })
  const errors = errorsOf(child)
  await until('the job', async () => ((await linesOf(project, 'notes')).length > 0 ? true : undefined))
  child.kill('SIGTERM')
  await until('the drain', () => errors().includes('finishing the running jobs') || undefined)
  await writeFile(project.path('go'), '')
  expect(await ended).toMatchObject({ code: 0, stdout: '{"reason":"drained"}\n' })
  expect(await linesOf(project, 'notes')).toEqual(['started', 'finished'])
})

test('the second signal stops, gives running jobs back and exits with 1', async () => {
  const project = await makeProject({ files: { 'tasks.ts': SLOW, 'note.ts': NOTING } })
  await zyqueue(['submit', 'slow', 'null'], { cwd: project.dir })
  const { child, ended } = startZyqueue(['work', '-f', 'tasks.ts', '-w', '1'], { cwd: project.dir })
  const errors = errorsOf(child)
  await until('the job', async () => ((await linesOf(project, 'notes')).length > 0 ? true : undefined))
  child.kill('SIGINT')
  await until('the drain', () => errors().includes('finishing the running jobs') || undefined)
  child.kill('SIGTERM')
  expect((await ended).code).toBe(1)
  const { stdout } = await zyqueue(['status', 'slow', '--json'], { cwd: project.dir })
  expect(JSON.parse(stdout).queues).toMatchObject([{ name: 'slow', ready: 1, active: 0 }])
})

test('--watch restarts the workers after each change, also after sources that fail', async () => {
  const project = await makeProject({
    files: {
      'tasks.ts': `import './more'\nimport { queueJob } from '@zyqueue/core'\nexport const t = queueJob({}, function t() {})`,
      'more.ts': `import { note } from './note'\nnote('one')`,
      'note.ts': NOTING,
    },
  })
  const { child, ended } = startZyqueue(['work', '-f', 'tasks.ts', '--watch', '-w', '1'], { cwd: project.dir })
  const errors = errorsOf(child)
  const noted = (text: string): Promise<true> =>
    until(text, async () => ((await linesOf(project, 'notes')).includes(text) ? true : undefined))
  await until('workers', () => errors().includes('taking jobs') || undefined)

  // Replace the file by a new one, as editors do.
  await writeFile(project.path('more.ts~'), 'export const n: number = ')
  await rename(project.path('more.ts~'), project.path('more.ts'))
  await until('the logged error', () => errors().includes('does not compile') || undefined)
  await writeFile(project.path('more.ts'), `import { note } from './note'\nnote('two')`)
  await noted('two')
  await writeFile(project.path('more.ts'), `throw new Error('no luck')`)
  await until('the error of the workers', () => errors().includes('the workers failed') || undefined)
  await writeFile(project.path('more.ts'), `import { note } from './note'\nnote('three')`)
  await noted('three')

  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
})

test('--watch waits for what is imported and missing, newly broken, or gone', async () => {
  const tasks = `import { queueJob } from '@zyqueue/core'\nexport const t = queueJob({}, function t() {})`
  const noting = (text: string): string => `import { note } from '../note'\nnote('${text}')`
  const project = await makeProject({
    files: { 'tasks.ts': `import './more/parts/late.js'\n${tasks}`, 'note.ts': NOTING },
  })
  const { child, ended } = startZyqueue(['work', '-f', 'tasks.ts', '--watch', '-w', '1'], { cwd: project.dir })
  const errors = errorsOf(child)
  const noted = (text: string): Promise<true> =>
    until(text, async () => ((await linesOf(project, 'notes')).includes(text) ? true : undefined))
  const logged = (text: string): Promise<true> => until(text, () => errors().includes(text) || undefined)

  await logged('waiting for a source file to change')
  await mkdir(project.path('more/parts'), { recursive: true })
  await writeFile(project.path('more/parts/late.ts'), `import '../early'`)
  await logged('sources changed')
  await writeFile(project.path('more/early.ts'), noting('early'))
  await noted('early')

  await writeFile(project.path('more/broken.ts'), 'export const = ')
  await writeFile(project.path('tasks.ts'), `import './more/broken'\n${tasks}`)
  await logged('does not compile')
  await writeFile(project.path('more/broken.ts'), noting('mended'))
  await noted('mended')

  const before = errors().length
  await rm(project.path('more'), { recursive: true })
  await until('the error of the workers', () => errors().includes('threw while it was loaded', before) || undefined)
  await mkdir(project.path('more'))
  await writeFile(project.path('more/broken.ts'), noting('again'))
  await noted('again')

  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
})

test('workers run the core of the project, not the one of the CLI', async () => {
  const project = await makeProject({
    manifest: { type: 'module' },
    files: {
      'tasks.ts': `import { note } from './note'
import { queueJob } from '@zyqueue/core'
export const where = queueJob({ retries: 0 }, function where() {
  note(import.meta.resolve('@zyqueue/core'))
  note(process.argv[1] ?? '')
})`,
      'note.ts': NOTING,
      'node_modules/@zyqueue/core/.keep': '',
    },
    link: { '@zyqueue/core': false, zod: join(packages, 'core/node_modules/zod') },
  })
  for (const part of ['package.json', 'dist']) {
    await cp(join(packages, 'core', part), project.path(`node_modules/@zyqueue/core/${part}`), { recursive: true })
  }
  const own = project.path('node_modules/@zyqueue/core/dist')
  expect(await zyqueue(['submit', 'where', '1', '-f', 'tasks.ts'], { cwd: project.dir })).toMatchObject({ code: 0 })
  await zyqueue(['work', '-f', 'tasks.ts', '-w', '1', '--burst'], { cwd: project.dir })
  const notes = await linesOf(project, 'notes')
  expect(notes).toEqual([`file://${own}/index.js`, expect.stringContaining(dirname(own))])
})

test.each([
  ['same', `queueJob({}, function same() {})\nqueueJob({}, function same() {})`, 1, 'ZYQ_TASK_DUPLICATE'],
  ['bad name', `queueJob({ name: 'a b' }, function x() {})`, 2, 'ZYQ_TASK_NAME'],
  ['no error', `throw { odd: true }`, 1, 'ZYQ_TASK_FILE'],
])('each command reports an invalid task file (%s) with the same code', async (_what, source, code, error) => {
  const text = `import { queueJob } from '@zyqueue/core'\n${source}`
  const project = await makeProject({ files: { 'tasks.ts': text } })
  for (const command of ['tasks', 'submit same 1', 'work -w 2']) {
    const args = [...command.split(' '), '-f', 'tasks.ts', '--json']
    const ended = await zyqueue(args, { cwd: project.dir })
    expect(ended).toMatchObject({ code, stdout: '' })
    expect(JSON.parse(ended.stderr.trim().split('\n').at(-1) ?? '').error).toMatchObject({ code: error })
  }
})

test('reports a task file that ends the process', async () => {
  const project = await makeProject({ files: { 'tasks.ts': `process.exit(0)` } })
  const ended = await zyqueue(['tasks', '-f', 'tasks.ts'], { cwd: project.dir })
  expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('ended the process while it was loaded') })
})

test.runIf(existsSync('/proc/self/cmdline'))('no process has a connection string in its arguments', async () => {
  const project = await makeProject({ files: { 'tasks.ts': SLOW, 'note.ts': NOTING } })
  const args = ['work', '-f', 'tasks.ts', '-w', '1', '-C', 'sqlite:hunter2.db']
  const { child, ended } = startZyqueue(args, { cwd: project.dir })
  const errors = errorsOf(child)
  await until('workers', () => errors().includes('taking jobs') || undefined)
  const pids = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
  for (const pid of [child.pid, ...pids.trim().split(' ')]) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8')
    expect(line).toContain('zyqueue: ')
    expect(line).not.toContain('hunter2')
  }
  child.kill('SIGTERM')
  await ended
})

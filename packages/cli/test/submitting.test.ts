import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { bin, makeProject, run, startZyqueue, until, zyqueue, type Ended, type Project } from './project.ts'

async function readyJobs(project: Project): Promise<number> {
  const { code, stdout } = await zyqueue(['status', '--json'], { cwd: project.dir })
  return code === 0 ? (JSON.parse(stdout).queues[0]?.ready ?? 0) : 0
}

function numbers(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, index) => `${from + index}\n`).join('')
}

test('a list submits one job per item', async () => {
  const project = await makeProject({ files: {} })
  const { stdout } = await zyqueue(['submit', 't', '[1,2,3]', '--json'], { cwd: project.dir })
  expect(JSON.parse(stdout)).toEqual({ task: 't', queue: 't', stored: 3 })
  expect(await readyJobs(project)).toBe(3)
})

test.each([
  ['nothing', []],
  ['-', ['-']],
  ['- after an option', ['--priority', '9', '-']],
])('with %s for data, each line of standard input is a job', async (_what, words) => {
  const project = await makeProject({ files: {} })
  const { stdout } = await zyqueue(['submit', 't', '--json', ...words], { cwd: project.dir, input: '1\n2\n' })
  expect(JSON.parse(stdout)).toEqual({ task: 't', queue: 't', stored: 2 })
  expect(await readyJobs(project)).toBe(2)
})

test('--expires gives the job a time after which it is not run', async () => {
  const project = await makeProject({ files: {} })
  const before = Date.now()
  expect((await zyqueue(['submit', 't', '1', '--expires', '1h'], { cwd: project.dir })).code).toBe(0)
  const { stdout } = await zyqueue(['jobs', 't', '--json'], { cwd: project.dir })
  const expiresAtMs = Number(JSON.parse(stdout).jobs[0].headers['zyq-expires-at'])
  expect(expiresAtMs).toSatisfy((ms: number) => ms >= before + 3_600_000 && ms <= Date.now() + 3_600_000)
  const tooEarly = await zyqueue(['submit', 't', '1', '--delay', '2h', '--expires', '1h'], { cwd: project.dir })
  expect(tooEarly).toMatchObject({ code: 2, stderr: expect.stringContaining('would expire before it is ready') })
})

test('empty data is an error, not a request to read standard input', async () => {
  const project = await makeProject({ files: {} })
  const ended = await zyqueue(['submit', 't', ''], { cwd: project.dir, input: '1\n' })
  expect(ended).toMatchObject({ code: 2, stderr: expect.stringContaining('the data is not JSON') })
})

test('an invalid line ends the stream, and the error says how many jobs are stored', async () => {
  const project = await makeProject({ files: {} })
  const input = `${numbers(1, 1500)}\n{bad\n${numbers(1, 10)}`
  const { code, stdout, stderr } = await zyqueue(['submit', 't', '--json'], { cwd: project.dir, input })
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(JSON.parse(stderr).error).toEqual({
    code: 'ZYQ_SUBMIT_PARTIAL',
    message: expect.stringMatching(/^line 1502 of standard input is not JSON: .*; 1,500 jobs before it are stored$/),
    remedy: expect.stringContaining('tail -n +1502'),
    stored: 1500,
  })
  expect(await readyJobs(project)).toBe(1500)

  const first = await zyqueue(['submit', 't'], { cwd: project.dir, input: '{bad\n1' })
  expect(first).toMatchObject({ code: 2, stderr: expect.stringContaining('line 1 of standard input') })
})

test('a byte order mark is skipped, a line that is not UTF-8 is refused', async () => {
  const project = await makeProject({ files: {} })
  const submit = (input: Uint8Array): Promise<Ended> => zyqueue(['submit', 't'], { cwd: project.dir, input })
  expect(await submit(Buffer.from('\uFEFF1\n\uFEFF2\n'))).toMatchObject({ code: 0 })
  expect(await submit(Buffer.from('1\n"\xe9"\n', 'latin1'))).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/line 2 of standard input is not UTF-8; 1 job before it is stored/),
  })
  expect(await readyJobs(project)).toBe(3)
})

test('the error about data that does not fit the schema names the line', async () => {
  const tasks = `import { queueJob } from '@zyqueue/core'
const data = { '~standard': { version: 1, vendor: 'test', validate: (value) => value === 7 ? { issues: [{ message: 'no sevens' }] } : { value } } }
export const t = queueJob({ data }, function t() {})`
  const project = await makeProject({ files: { 'tasks.mjs': tasks } })
  const args = ['submit', 't', '-f', 'tasks.mjs']
  const late = await zyqueue(args, { cwd: project.dir, input: numbers(5, 9) })
  expect(late).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/line 3 of .*no sevens.*2 jobs before it are stored/),
  })
  const first = await zyqueue(args, { cwd: project.dir, input: '7\n' })
  expect(first).toMatchObject({ code: 1, stderr: expect.stringMatching(/line 1 of .*no sevens.*ZYQ_VALIDATION/) })
})

test('an interrupted stream says how many jobs are stored and how to submit the rest', async () => {
  const project = await makeProject({ files: {} })
  const child = spawn(process.execPath, [bin, 'submit', 't', '--json'], { cwd: project.dir })
  let stderr = ''
  child.stderr.on('data', (text) => (stderr += String(text)))
  child.stdin.write(numbers(1, 2500))
  await until('stored jobs', async () => ((await readyJobs(project)) >= 2000 ? true : undefined))
  child.kill('SIGINT')
  expect(await once(child, 'close')).toEqual([130, null])
  expect(JSON.parse(stderr).error).toMatchObject({
    message: 'interrupted by SIGINT; 2,500 jobs before it are stored',
    remedy: expect.stringContaining('tail -n +2501'),
    stored: 2500,
  })
  expect(await readyJobs(project)).toBe(2500)
})

/** Runs a program in a terminal of 50 columns whose standard input is a pipe, and prints what the terminal shows. */
const AT_TERMINAL = `
import fcntl, os, pty, struct, sys, termios
master, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 50, 0, 0))
child = os.fork()
if child == 0:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(terminal, 2)
    os.execv(sys.argv[1], sys.argv[1:])
os.close(terminal)
while True:
    try:
        chunk = os.read(master, 1024)
    except OSError:
        break
    if not chunk:
        break
    sys.stdout.buffer.write(chunk)
os.waitpid(child, 0)
`
const python = spawnSync('python3', ['--version']).status === 0 ? 'python3' : undefined

test.runIf(python)('at a terminal the bar ends with the number of stored jobs, also after an error', async () => {
  const project = await makeProject({ files: { 'terminal.py': AT_TERMINAL } })
  const args = ['terminal.py', process.execPath, bin, 'submit', 't', '--json']
  const barOf = async (input: string): Promise<string | undefined> => {
    const { stdout } = await run(args, { node: python ?? '', cwd: project.dir, input })
    // Each drawing begins at the left and is narrower than the terminal.
    const parts = stdout.split(/[\r\n]/).filter((part) => part.startsWith('['))
    const drawn = parts.map((part) => part.replace('\u001b[K', ''))
    expect(drawn.filter((line) => line.length > 49)).toEqual([])
    return drawn.at(-1)
  }
  expect(await barOf(numbers(1, 5_000))).toMatch(/^\[#{28}\] 5,000 of 5,000/)
  expect(await barOf(`${numbers(1, 2_000)}{bad\n`)).toMatch(/^\[#{28}\] 2,000 of 2,000/)
  const { stderr } = await zyqueue(['submit', 't'], { cwd: project.dir, input: numbers(1, 3) })
  expect(stderr.split('\n')).toEqual([expect.stringContaining('no worker serves the queue "t"'), ''])
})

test('one long line is one job', async () => {
  const project = await makeProject({ files: {} })
  const input = JSON.stringify('x'.repeat(5_000_000))
  expect(await zyqueue(['submit', 't'], { cwd: project.dir, input })).toMatchObject({ code: 0 })
  expect(await readyJobs(project)).toBe(1)
})

test('a name that no worker serves is told with what exists, and a task file sends the job to the task’s queue', async () => {
  const tasks = `import { queueJob } from '@zyqueue/core'
queueJob({}, function greet() {})
queueJob({ queue: 'images' }, function resize() {})`
  const project = await makeProject({ files: { 'tasks.mjs': tasks } })
  startZyqueue(['work', '-f', 'tasks.mjs', '--max-workers', '1'], { cwd: project.dir })
  await until('a worker', async () => {
    const { code, stdout } = await zyqueue(['workers', '--json'], { cwd: project.dir })
    return code === 0 && JSON.parse(stdout).workers.length > 0 ? true : undefined
  })
  const submit = (...words: string[]): Promise<Ended> => zyqueue(['submit', ...words], { cwd: project.dir })
  const [known, misspelt, elsewhere, declared] = await Promise.all([
    submit('greet', '{}'),
    submit('greeet', '[1, 2]'),
    submit('resize', '{}', '--json'),
    submit('resize', '{}', '--json', '-f', 'tasks.mjs'),
  ])
  expect(known).toMatchObject({ code: 0, stderr: '' })
  expect(misspelt).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(
      /^zyqueue: warning: no worker serves the queue "greeet"\. Did you mean "greet"\? Workers serve greet, images\./,
    ),
  })
  expect(JSON.parse(elsewhere.stderr)).toEqual({ warning: { message: expect.stringMatching(/"resize".*--task-file/) } })
  expect({ ...declared, stdout: JSON.parse(declared.stdout) }).toMatchObject({
    stdout: { queue: 'images' },
    stderr: '',
  })
})

test('a typed path is relative to the current folder, also if the task file is in another folder', async () => {
  const broker = (name: string): string =>
    `import sqlite from '@zyqueue/broker-sqlite'\nexport default { ...sqlite, create: (options) => (console.error('${name}'), sqlite.create(options)) }`
  const project = await makeProject({
    files: {
      'jobs/tasks.mjs': `import { queueJob } from '@zyqueue/core'\nexport const t = queueJob({ connection: 'sqlite:own.db' }, function t() {})`,
      'jobs/broker.mjs': broker('of the task file'),
      'broker.mjs': broker('of the working directory'),
    },
  })
  const submit = (...more: string[]): Promise<Ended> =>
    zyqueue(['submit', 't', '1', '-f', 'jobs/tasks.mjs', ...more], { cwd: project.dir })
  await submit()
  await submit('-C', 'sqlite:typed.db')
  const { stderr } = await submit('-S', './broker.mjs', '-C', 'sqlite:both.db')
  const created = ['jobs/own.db', 'typed.db', 'both.db'].map((path) => existsSync(project.path(path)))
  expect({ created, stderr }).toEqual({ created: [true, true, true], stderr: 'of the working directory\n' })
})

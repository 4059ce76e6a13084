import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { errorsOf, makeProject, startZyqueue, until, zyqueue } from './project.ts'

const TASKS = `import { queueJob } from '@zyqueue/core'
export const say = queueJob({ retries: 0 }, function say(worker, job) {
  worker.log.info('said')
  if (job.data === 'fail') throw new Error('no')
})
export const later = queueJob({}, function later() {
  setTimeout(() => { throw Object.assign(new Error('late'), { token: 'sesame' }) })
  return new Promise(() => {})
})
`
const PINO = dirname(fileURLToPath(import.meta.resolve('pino')))

function jsonLines(text: string): { readonly [field: string]: unknown }[] {
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
}

test('the log of a burst has the end of each job and the total', async () => {
  const project = await makeProject({ files: { 'tasks.mjs': TASKS } })
  await zyqueue(['submit', 'say', '["a","fail"]'], { cwd: project.dir })
  const { stderr } = await zyqueue(['work', '-f', 'tasks.mjs', '-w', '1', '--burst'], { cwd: project.dir })
  const lines = jsonLines(stderr)
  const own = { worker: 'tasks.mjs.1', task: 'say', job: expect.any(String), attempt: 1 }
  expect(lines.filter(({ task }) => task === 'say')).toMatchObject([
    { ...own, level: 'info', msg: 'said' },
    { ...own, level: 'info', msg: 'job done', outcome: 'done', durationMs: expect.any(Number) },
    { ...own, level: 'info', msg: 'said' },
    { ...own, level: 'error', outcome: 'dead', durationMs: expect.any(Number) },
  ])
  expect(lines.at(-1)).toMatchObject({ level: 'info', msg: 'stopped after 2 jobs, 1 dead', jobs: 2, dead: 1 })
})

test('an uncaught error of a worker process is one line of the JSON log', async () => {
  const project = await makeProject({ files: { 'tasks.mjs': TASKS } })
  await zyqueue(['submit', 'later', 'null'], { cwd: project.dir })
  const { child, ended } = startZyqueue(['work', '-f', 'tasks.mjs', '-w', '1'], { cwd: project.dir })
  const errors = errorsOf(child)
  await until('the error', () => errors().includes('with exit code 1') || undefined)
  child.kill('SIGTERM')
  const { stderr } = await ended
  expect(stderr).not.toContain('sesame')
  const own = { level: 'error', worker: 'tasks.mjs.1', origin: 'uncaughtException' }
  const err = { type: 'Error', message: 'late', stack: expect.stringContaining('tasks.mjs') }
  expect(jsonLines(stderr)).toContainEqual(expect.objectContaining({ ...own, err }))
})

test.each([
  ['a logger', 'export default pino({ base: null }, pino.destination(2))'],
  ['a function', 'export default ({ level }: { level: string }) => pino({ base: null, level }, pino.destination(2))'],
])('--logger: %s of a TypeScript file writes all lines', async (_, code) => {
  const files = { 'tasks.ts': TASKS, 'log.ts': `import pino from 'pino'\n${code}\n` }
  const project = await makeProject({ files, manifest: { type: 'module' }, link: { pino: PINO } })
  await zyqueue(['submit', 'say', '"fail"'], { cwd: project.dir })
  const args = ['work', '-f', 'tasks.ts', '-w', '1', '--burst', '--logger', 'log.ts']
  const { code: exit, stderr } = await zyqueue(args, { cwd: project.dir })
  const lines = jsonLines(stderr)
  const own = { worker: 'tasks.ts.1', task: 'say', job: expect.any(String), attempt: 1 }
  expect(exit).toBe(0)
  expect(lines.find(({ msg }) => msg === 'said')).toMatchObject({ level: 30, ...own })
  expect(lines.find(({ outcome }) => outcome === 'dead')).toMatchObject({ level: 50, ...own, err: { message: 'no' } })
  expect(lines.at(-1)).toMatchObject({ level: 30, msg: 'stopped after 1 job, 1 dead' })
})

test('--logger refuses a missing file, and a file without a logger', async () => {
  const project = await makeProject({ files: { 'tasks.mjs': TASKS, 'log.mjs': 'export const log = {}\n' } })
  const ask = async (...args: string[]) => zyqueue(['work', '-f', 'tasks.mjs', ...args], { cwd: project.dir })
  expect(await ask('--logger', 'gone.ts')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/--logger: .*gone\.ts does not exist/),
  })
  expect(await ask('--logger', 'log.mjs')).toMatchObject({ stderr: expect.stringMatching(/log\.mjs is no logger/) })
  expect(await ask('--logger', 'log.mjs', '--log-format', 'json')).toMatchObject({ code: 2 })
})

test('an unexpected error is reported with its stack and causes, and no other fields', async () => {
  const submit = `() => { throw Object.assign(new Error('no', { cause: new Error('refused') }), { token: 'sesame' }) }`
  const code = `import { queueJob } from '@zyqueue/core'
export const odd = queueJob({ name: 'odd', middleware: [{ submit: ${submit} }] }, () => {})
`
  const project = await makeProject({ files: { 'tasks.mjs': code } })
  const { stderr } = await zyqueue(['submit', 'odd', '1', '-f', 'tasks.mjs'], { cwd: project.dir })
  expect(stderr).toMatch(/Error: no\n +at [\s\S]*cause: Error: refused\n/)
  expect(stderr).not.toContain('sesame')
})

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { expect, test, vi } from 'vitest'
import { failure, lineOf, SupervisorFixture, untilLogged } from './fixture.ts'

const TASK = `import { queueJob } from '@zyqueue/core'
export const work = queueJob({}, async function work() {})
`

/** Makes every process of a supervisor write a line when it starts. */
function countStarts(fixture: SupervisorFixture): () => number {
  const starts = fixture.project.path('starts')
  const module = fixture.project.path('count-starts.mjs')
  writeFileSync(starts, '')
  writeFileSync(module, `import { appendFileSync } from 'node:fs'\nappendFileSync(${JSON.stringify(starts)}, '.')`)
  vi.stubEnv('NODE_OPTIONS', `--import ${pathToFileURL(module).href}`)
  return () => readFileSync(starts, 'utf8').length
}

test.each([
  [
    'throws at its import',
    `${TASK}throw new Error('boom')`,
    'ZYQ_TASK_FILE',
    /tasks\.mjs threw while it was loaded: boom/,
    2,
  ],
  ['has a syntax error', `${TASK}const = 3`, 'ZYQ_TASK_FILE', /tasks\.mjs threw .*Unexpected token/, 2],
  [
    'submits a job',
    `${TASK}await work.submit(1)`,
    'ZYQ_TASK_FILE',
    /tasks\.mjs submits a job of work while it is loaded.*Submit in another file/,
    2,
  ],
  ['defines nothing', 'export {}', 'ZYQ_TASK_FILE', /tasks\.mjs defines no task/, 2],
  ['imports a package that is missing', `import 'left-pad'\n${TASK}`, 'ZYQ_TASK_FILE', /left-pad/, 2],
  ['exits with 3', `${TASK}process.exit(3)`, 'ZYQ_WORKER_START', /with exit code 3 before they were ready, 6 times/, 7],
  ['exits with 0', `${TASK}process.exit(0)`, 'ZYQ_WORKER_START', /with exit code 0 before they were ready, 6 times/, 7],
  [
    'asks to be ended',
    `${TASK}process.kill(process.pid, 'SIGTERM'); await new Promise(() => {})`,
    'ZYQ_WORKER_START',
    /with exit code 0 before/,
    7,
  ],
  [
    'kills itself',
    `${TASK}process.kill(process.pid, 'SIGKILL')`,
    'ZYQ_WORKER_START',
    /by SIGKILL before they were ready/,
    7,
  ],
  [
    'wants a broker that is not installed',
    TASK.replace('{}', `{ server: 'redis' }`),
    'ZYQ_BROKER_NOT_FOUND',
    /redis/,
    2,
  ],
  ['wants what the broker cannot do', TASK.replace('{}', `{ exchange: 'x' }`), 'ZYQ_UNSUPPORTED', /exchange/, 2],
])('a task file that %s ends the supervisor with one clear error', async (_, tasks, code, message, forks) => {
  const fixture = await SupervisorFixture.create(tasks, { prelude: false })
  const starts = countStarts(fixture)
  const { ended, log } = fixture.supervise({ maxWorkers: 2 })
  const result = failure(await ended)
  expect(result).toMatchObject({ reason: 'failed', code })
  expect(result.message).toMatch(message)
  expect(starts()).toBeLessThanOrEqual(forks)
  expect(log.filter(({ level, msg }) => level === 'error' && !msg.startsWith('worker ended'))).toEqual([])
  expect(fixture.leftovers()).toEqual([])
})

test('a broker that refuses ends the supervisor with one clear error', async () => {
  const fixture = await SupervisorFixture.create(TASK, { prelude: false })
  writeFileSync(fixture.project.path('queue.db'), 'a diary, not a queue '.repeat(100))
  const starts = countStarts(fixture)
  const { ended } = fixture.supervise({ maxWorkers: 2 })
  expect(failure(await ended)).toEqual({
    reason: 'failed',
    code: 'ZYQ_STORAGE_FOREIGN',
    message: expect.stringContaining('queue.db'),
  })
  expect(starts()).toBeLessThanOrEqual(2)
})

test('if no process can be started, the result has this error', async () => {
  const fixture = await SupervisorFixture.create(TASK, { prelude: false })
  rmSync(fixture.temporary, { recursive: true })
  const { ended } = fixture.supervise({ maxWorkers: 2 })
  expect(failure(await ended)).toEqual({
    reason: 'failed',
    code: 'ZYQ_WORKER_START',
    message: expect.stringMatching(/could not be started: ENOENT/),
  })
})

test('a task file that ends each process soon after its start ends the supervisor, with and without jobs', async () => {
  const fixture = await SupervisorFixture.create(
    `${TASK}
const send = process.send.bind(process)
process.send = (message, ...rest) => {
  if (message.type === 'ready') setTimeout(() => { throw new Error('late') }, 50)
  return send(message, ...rest)
}`,
    { prelude: false },
  )
  const { ended } = fixture.supervise({ maxWorkers: 2 })
  expect(failure(await ended)).toEqual({
    reason: 'failed',
    code: 'ZYQ_WORKER_START',
    message: expect.stringMatching(/with exit code 1 before they completed a job, 6 times/),
  })
})

test('a reload of an invalid task file ends the supervisor after the old processes have finished', async () => {
  const fixture = await SupervisorFixture.create(`
if (exists('broken')) throw new Error('broken')
export const work = queueJob({}, async function work(worker, job) {
  note('began')
  await untilExists('go')
  note('ended')
})`)
  await fixture.submit('work', [1])
  const { supervisor, ended } = fixture.supervise({ maxWorkers: 1 })
  await fixture.untilNoted(1)
  writeFileSync(fixture.project.path('broken'), '')
  supervisor.reload()
  writeFileSync(fixture.project.path('go'), '')
  expect(failure(await ended)).toMatchObject({ reason: 'failed', code: 'ZYQ_TASK_FILE' })
  expect(fixture.lines()).toEqual(['began', 'ended'])
})

test('a task file that becomes invalid does not end the supervisor, and workers start when it is fixed', async () => {
  const fixture = await SupervisorFixture.create(`
if (exists('broken')) throw new Error('broken')
export const work = queueJob({}, async function work(worker, job) { ran(job) })`)
  const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 1 })
  await fixture.submit('work', [1])
  await fixture.untilNoted(1)
  await untilLogged(log, 'worker is ready')
  writeFileSync(fixture.project.path('broken'), '')
  process.kill(Number(lineOf(log, 'worker is ready')?.pid), 'SIGTERM')
  await untilLogged(log, 'worker could not start', 4)
  writeFileSync(
    fixture.project.path('tasks.mjs'),
    TASK.replace('async function work() {}', `async function work() { process.send('done') }`),
  )
  await untilLogged(log, 'worker is ready', 2)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
  expect(lineOf(log, 'could not start')).toMatchObject({ err: { code: 'ZYQ_TASK_FILE' } })
})

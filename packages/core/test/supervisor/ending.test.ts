import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { run, until } from './project.ts'
import { byJob, isAlive, lineOf, numbers, SupervisorFixture, untilLogged } from './fixture.ts'

/** Every job waits for a file. */
const WAIT = `
export const wait = queueJob({}, async function wait(worker, job) {
  ran(job)
  await untilExists('go')
  note('done ' + job.data)
})`

function letGo(fixture: SupervisorFixture): void {
  writeFileSync(fixture.project.path('go'), '')
}

function doneJobs(fixture: SupervisorFixture): string[] {
  return fixture
    .lines()
    .filter((line) => line.startsWith('done'))
    .toSorted()
}

test('drain lets running jobs end, and releases the others without a lost delivery', async () => {
  const fixture = await SupervisorFixture.create(WAIT)
  await fixture.submit('wait', numbers(10))
  const { supervisor, ended } = fixture.supervise({ maxWorkers: 1, concurrency: 3, prefetch: 10 })
  await fixture.untilNoted(3)
  supervisor.drain()
  await until('what was not started to come back', async () => (await fixture.queue('wait'))?.ready === 7 || undefined)
  letGo(fixture)
  expect(await ended).toEqual({ reason: 'drained' })

  expect(doneJobs(fixture)).toEqual(['done 0', 'done 1', 'done 2'])
  expect(await fixture.queue('wait')).toMatchObject({ ready: 7, active: 0 })
  await fixture.burst()
  expect(
    fixture
      .lines()
      .filter((line) => !line.startsWith('done'))
      .toSorted(),
  ).toEqual(numbers(10).map((n) => `${n} 0`))
  expect(fixture.leftovers()).toEqual([])
})

const STUBBORN = `
export const stubborn = queueJob({}, async function stubborn(worker, job) {
  ran(job)
  if (exists('go')) return
  if (job.data === 'spins') spin(Infinity)
  await new Promise(() => {})
})`

test.each([
  ['waits', 'drain', ['drain'], 'drained'],
  ['waits', 'stop', ['stop'], 'stopped'],
  ['waits', 'drain, then stop', ['drain', 'stop'], 'stopped'],
  ['spins', 'drain', ['drain'], 'drained'],
  ['spins', 'stop', ['stop'], 'stopped'],
] as const)(
  'a job that %s and does not end is released without a lost delivery by %s',
  async (kind, _, calls, reason) => {
    const fixture = await SupervisorFixture.create(STUBBORN)
    await fixture.submit('stubborn', [kind, kind])
    // Only a drain without a stop reaches the end of its grace period.
    const graceMs = calls.length === 1 ? 200 : 600_000
    const { supervisor, ended } = fixture.supervise({ maxWorkers: 1, concurrency: 1, graceMs })
    await fixture.untilNoted(1)
    for (const call of calls) supervisor[call]()
    expect(await ended).toEqual({ reason })
    expect(await fixture.queue('stubborn')).toMatchObject({ ready: 2, active: 0 })
    letGo(fixture)
    await fixture.burst({ maxWorkers: 1 })
    expect(fixture.lines()).toEqual(numbers(3).map(() => `${kind} 0`))
    expect(fixture.leftovers()).toEqual([])
  },
)

test('a supervisor ends if it is drained before its processes are ready', async () => {
  const fixture = await SupervisorFixture.create(`note('loading')\nawait new Promise(() => {})`)
  const before = fixture.supervise({ maxWorkers: 2 })
  before.supervisor.drain()
  expect(await before.ended).toEqual({ reason: 'drained' })
  const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 2, stallMs: 100 })
  await fixture.untilNoted(2)
  await untilLogged(log, 'worker is not ready yet', 2)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
  expect(lineOf(log, 'worker ended')).toBeUndefined()
  expect(fixture.leftovers()).toEqual([])
})

test('burst ends when no job is ready, and keeps delayed jobs', async () => {
  const fixture = await SupervisorFixture.create(
    `export const work = queueJob({}, async function work(worker, job) { ran(job) })`,
  )
  expect((await fixture.burst()).result).toEqual({ reason: 'burst' })
  await fixture.submit('work', numbers(5))
  await fixture.submit('work', ['later'], { delayMs: 600_000 })
  const { result, log } = await fixture.burst()
  expect(result).toEqual({ reason: 'burst' })
  expect(fixture.lines().toSorted()).toEqual(numbers(5).map((n) => `${n} 0`))
  expect(await fixture.queue('work')).toMatchObject({ ready: 0, delayed: 1 })
  expect(log.filter(({ msg }) => msg.includes('delayed jobs remain'))).toMatchObject([{ delayed: 1 }])
})

test('reload replaces the code without losing a job or running one twice', async () => {
  const version = (v: number): string =>
    `export const work = queueJob({}, async function work(worker, job) { if (job.data >= 1_500) await untilExists('reloaded'); note(job.data + ' ' + job.deliveryCount + ' v${v}'); await sleep(2) })`
  const fixture = await SupervisorFixture.create(version(1))
  await fixture.submit('work', numbers(3_000))
  const { supervisor, ended } = fixture.supervise({ concurrency: 5 })
  await fixture.untilNoted(200)
  const path = fixture.project.path('tasks.mjs')
  writeFileSync(path, readFileSync(path, 'utf8').replace(version(1), version(2)))
  supervisor.reload()
  writeFileSync(fixture.project.path('reloaded'), '')
  await until('all jobs', () => fixture.notes().length >= 3_000 || undefined)
  supervisor.drain()
  await ended
  const lines = fixture.lines()
  expect(lines).toHaveLength(3_000)
  expect(byJob(fixture.runs()).size).toBe(3_000)
  expect(new Set(lines.map((line) => line.replace(/^\d+ /, '')))).toEqual(new Set(['0 v1', '0 v2']))
  expect(fixture.leftovers()).toEqual([])
})

test('maxJobsPerWorker replaces processes, runs every job once and interrupts no long job', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  if (job.data === 'long') await untilExists('go')
})`)
  await fixture.submit('work', ['long', ...numbers(300)])
  const { supervisor, ended, log } = fixture.supervise({
    maxWorkers: 2,
    concurrency: 5,
    maxJobsPerWorker: 40,
    graceMs: 1,
  })
  await fixture.untilNoted(301)
  const runs = fixture.runs()
  const holder = runs.find(({ job }) => job === 'long')?.pid ?? 0
  await until(
    'the retirement',
    () => log.some(({ msg, pid }) => pid === holder && msg.includes('is replaced')) || undefined,
  )
  expect(isAlive(holder)).toBe(true)
  letGo(fixture)
  await until('its end', () => !isAlive(holder) || undefined)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })

  expect(byJob(runs).size).toBe(301)
  expect(fixture.lines()).toHaveLength(301)
  expect(runs.filter(({ deliveryCount }) => deliveryCount > 0)).toEqual([])
  for (const pid of fixture.pids()) expect(runs.filter((one) => one.pid === pid).length).toBeLessThan(40 + 5)
  expect(fixture.pids().length).toBeGreaterThanOrEqual(7)
  expect(lineOf(log, 'worker ended')).toBeUndefined()
  expect(fixture.leftovers()).toEqual([])
})

test('a process that receives SIGTERM finishes its jobs and is replaced', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  await sleep(1)
})`)
  await fixture.submit('work', numbers(2_000))
  const { supervisor, ended, log } = fixture.supervise({ concurrency: 5 })
  await fixture.untilNoted(200)
  // A process that is not ready yet would count as a failed start.
  await untilLogged(log, 'worker is ready', 2)
  const [first = 0] = fixture.pids()
  process.kill(first, 'SIGTERM')
  await untilLogged(log, 'it received SIGTERM')
  await until('all jobs', () => fixture.notes().length >= 2_000 || undefined)
  await untilLogged(log, 'worker is ready', 3)
  supervisor.drain()
  await ended
  expect(byJob(fixture.runs()).size).toBe(2_000)
  expect(fixture.lines()).toHaveLength(2_000)
  expect(fixture.lines().filter((line) => !line.endsWith(' 0'))).toEqual([])
  expect(lineOf(log, 'worker ended')).toBeUndefined()
  expect(fixture.leftovers()).toEqual([])
})

test('maxMemoryPerWorker below the initial memory is logged, and processes are replaced with backoff', async () => {
  const fixture = await SupervisorFixture.create(`export const work = queueJob({}, async function work() {})`)
  const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 1, maxMemoryPerWorker: 1_000_000 })
  await untilLogged(log, 'replaced before it completed a job', 4)
  const starts = log.filter(({ msg }) => msg === 'worker is ready').map(({ time }) => Number(time))
  expect(starts.length).toBeLessThanOrEqual(5)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
})

test('a job that does not end in the grace period is logged, also if it blocks its process', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  if (job.data === 'blocks') spin(Infinity)
  await new Promise(() => {})
})`)
  await fixture.submit('work', ['blocks'])
  const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 1, graceMs: 50 })
  await fixture.untilNoted(1)
  supervisor.drain()
  await ended
  expect(lineOf(log, 'did not end in time')).toMatchObject({ level: 'warn', jobs: [expect.any(String)] })
})

test('maxMemoryPerWorker replaces a process that exceeds it, and runs every job once', async () => {
  const fixture = await SupervisorFixture.create(`
const kept = []
export const grow = queueJob({}, async function grow(worker, job) {
  ran(job)
  kept.push(Buffer.alloc(40_000_000, 1))
  await sleep(100)
})`)
  await fixture.submit('grow', numbers(12))
  const options = { maxWorkers: 1, concurrency: 1, maxMemoryPerWorker: 250_000_000 }
  const { log } = await fixture.burst(options)
  expect(fixture.lines().toSorted()).toEqual(
    numbers(12)
      .map((n) => `${n} 0`)
      .toSorted(),
  )
  expect(lineOf(log, 'its memory exceeds the limit')).toBeDefined()
  expect(fixture.pids().length).toBeGreaterThanOrEqual(2)
  expect(fixture.leftovers()).toEqual([])
})

test.each([
  ['a script', (code: string) => ['run.mjs', code]],
  ['code on its command line', (code: string) => ['--input-type=module', '--eval', code]],
])('a process that ran a supervisor ends by itself: %s', async (_, args) => {
  const fixture = await SupervisorFixture.create(
    `export const work = queueJob({}, async function work(worker, job) { ran(job) })`,
  )
  await fixture.submit('work', numbers(5))
  const options = {
    taskFile: fixture.project.path('tasks.mjs'),
    connection: fixture.connection,
    maxWorkers: 2,
    burst: true,
  }
  const code = `import { createLogger } from '@zyqueue/core'
import { createSupervisor } from '@zyqueue/core/supervisor'
const logger = createLogger({ level: 'silent' })
const before = process.eventNames().length
const { reason } = await createSupervisor({ ...${JSON.stringify(options)}, logger, workerLog: { level: 'silent' } }).run()
console.log(reason, process.eventNames().length - before)`
  writeFileSync(fixture.project.path('run.mjs'), code)
  const env = { TMPDIR: fixture.temporary }
  expect(await run(args(code), { cwd: fixture.project.dir, env })).toEqual({ code: 0, stdout: 'burst 0\n', stderr: '' })
  expect(fixture.lines()).toHaveLength(5)
  expect(fixture.pids()).toHaveLength(2)
  expect(fixture.leftovers()).toEqual([])
})

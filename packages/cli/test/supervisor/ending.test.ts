import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { run, until } from '../project.ts'
import { byJob, isAlive, lineOf, numbers, Stage, untilLogged } from './stage.ts'

/** Every job waits until it may go on. */
const WAIT = `
export const wait = queueJob({}, async function wait(worker, job) {
  ran(job)
  await untilExists('go')
  note('done ' + job.data)
})`

function letGo(stage: Stage): void {
  writeFileSync(stage.project.path('go'), '')
}

function doneJobs(stage: Stage): string[] {
  return stage
    .lines()
    .filter((line) => line.startsWith('done'))
    .toSorted()
}

test('drain lets what runs end, and gives back the rest uncharged', async () => {
  const stage = await Stage.set(WAIT)
  await stage.submit('wait', numbers(10))
  const { supervisor, ended } = stage.supervise({ maxWorkers: 1, concurrency: 3, prefetch: 10 })
  await stage.untilNoted(3)
  supervisor.drain()
  await until('what was not started to come back', async () => (await stage.queue('wait'))?.ready === 7 || undefined)
  letGo(stage)
  expect(await ended).toEqual({ reason: 'drained' })

  expect(doneJobs(stage)).toEqual(['done 0', 'done 1', 'done 2'])
  expect(await stage.queue('wait')).toMatchObject({ ready: 7, active: 0 })
  await stage.burst()
  expect(
    stage
      .lines()
      .filter((line) => !line.startsWith('done'))
      .toSorted(),
  ).toEqual(numbers(10).map((n) => `${n} 0`))
  expect(stage.leftovers()).toEqual([])
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
] as const)('a job that %s and does not end is given back uncharged by %s', async (kind, _, calls, reason) => {
  const stage = await Stage.set(STUBBORN)
  await stage.submit('stubborn', [kind, kind])
  // Only a drain on its own gets to the end of its grace period.
  const graceMs = calls.length === 1 ? 200 : 600_000
  const { supervisor, ended } = stage.supervise({ maxWorkers: 1, concurrency: 1, graceMs })
  await stage.untilNoted(1)
  for (const call of calls) supervisor[call]()
  expect(await ended).toEqual({ reason })
  expect(await stage.queue('stubborn')).toMatchObject({ ready: 2, active: 0 })
  letGo(stage)
  await stage.burst({ maxWorkers: 1 })
  expect(stage.lines()).toEqual(numbers(3).map(() => `${kind} 0`))
  expect(stage.leftovers()).toEqual([])
})

test('asked to end before its processes are ready, a supervisor ends', async () => {
  const stage = await Stage.set(`note('loading')\nawait new Promise(() => {})`)
  const before = stage.supervise({ maxWorkers: 2 })
  before.supervisor.drain()
  expect(await before.ended).toEqual({ reason: 'drained' })
  const { supervisor, ended, log } = stage.supervise({ maxWorkers: 2, stallMs: 100 })
  await stage.untilNoted(2)
  await untilLogged(log, 'worker is not ready yet', 2)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
  expect(lineOf(log, 'worker ended')).toBeUndefined()
  expect(stage.leftovers()).toEqual([])
})

test('burst ends when nothing is ready, and leaves delayed jobs', async () => {
  const stage = await Stage.set(`export const work = queueJob({}, async function work(worker, job) { ran(job) })`)
  expect((await stage.burst()).result).toEqual({ reason: 'burst' })
  await stage.submit('work', numbers(5))
  await stage.submit('work', ['later'], { delayMs: 600_000 })
  const { result, log } = await stage.burst()
  expect(result).toEqual({ reason: 'burst' })
  expect(stage.lines().toSorted()).toEqual(numbers(5).map((n) => `${n} 0`))
  expect(await stage.queue('work')).toMatchObject({ ready: 0, delayed: 1 })
  expect(log.filter(({ msg }) => msg.includes('delayed jobs stay'))).toMatchObject([{ delayed: 1 }])
})

test('reload has new code take over without losing a job or running one twice', async () => {
  const version = (v: number): string =>
    `export const work = queueJob({}, async function work(worker, job) { if (job.data >= 1_500) await untilExists('reloaded'); note(job.data + ' ' + job.deliveryCount + ' v${v}'); await sleep(2) })`
  const stage = await Stage.set(version(1))
  await stage.submit('work', numbers(3_000))
  const { supervisor, ended } = stage.supervise({ concurrency: 5 })
  await stage.untilNoted(200)
  const path = stage.project.path('tasks.mjs')
  writeFileSync(path, readFileSync(path, 'utf8').replace(version(1), version(2)))
  supervisor.reload()
  writeFileSync(stage.project.path('reloaded'), '')
  await until('all jobs', () => stage.notes().length >= 3_000 || undefined)
  supervisor.drain()
  await ended
  const lines = stage.lines()
  expect(lines).toHaveLength(3_000)
  expect(byJob(stage.runs()).size).toBe(3_000)
  expect(new Set(lines.map((line) => line.replace(/^\d+ /, '')))).toEqual(new Set(['0 v1', '0 v2']))
  expect(stage.leftovers()).toEqual([])
})

test('maxJobsPerWorker replaces processes, runs every job once and cuts no long one short', async () => {
  const stage = await Stage.set(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  if (job.data === 'long') await untilExists('go')
})`)
  await stage.submit('work', ['long', ...numbers(300)])
  const { supervisor, ended, log } = stage.supervise({
    maxWorkers: 2,
    concurrency: 5,
    maxJobsPerWorker: 40,
    graceMs: 1,
  })
  await stage.untilNoted(301)
  const runs = stage.runs()
  const holder = runs.find(({ job }) => job === 'long')?.pid ?? 0
  await until(
    'the retirement',
    () => log.some(({ msg, pid }) => pid === holder && msg.includes('is replaced')) || undefined,
  )
  expect(isAlive(holder)).toBe(true)
  letGo(stage)
  await until('its end', () => !isAlive(holder) || undefined)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })

  expect(byJob(runs).size).toBe(301)
  expect(stage.lines()).toHaveLength(301)
  expect(runs.filter(({ deliveryCount }) => deliveryCount > 0)).toEqual([])
  for (const pid of stage.pids()) expect(runs.filter((one) => one.pid === pid).length).toBeLessThan(40 + 5)
  expect(stage.pids().length).toBeGreaterThanOrEqual(7)
  expect(lineOf(log, 'worker ended')).toBeUndefined()
  expect(stage.leftovers()).toEqual([])
})

test('a process that is sent SIGTERM finishes what it has in hand, and is replaced', async () => {
  const stage = await Stage.set(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  await sleep(1)
})`)
  await stage.submit('work', numbers(2_000))
  const { supervisor, ended, log } = stage.supervise({ concurrency: 5 })
  await stage.untilNoted(200)
  // One that is not ready yet would be a start that failed.
  await untilLogged(log, 'worker is ready', 2)
  const [first = 0] = stage.pids()
  process.kill(first, 'SIGTERM')
  await untilLogged(log, 'it was sent SIGTERM')
  await until('all jobs', () => stage.notes().length >= 2_000 || undefined)
  await untilLogged(log, 'worker is ready', 3)
  supervisor.drain()
  await ended
  expect(byJob(stage.runs()).size).toBe(2_000)
  expect(stage.lines()).toHaveLength(2_000)
  expect(stage.lines().filter((line) => !line.endsWith(' 0'))).toEqual([])
  expect(lineOf(log, 'worker ended')).toBeUndefined()
  expect(stage.leftovers()).toEqual([])
})

test('maxMemoryPerWorker below what a process begins with is told, and does not have it replaced at once for ever', async () => {
  const stage = await Stage.set(`export const work = queueJob({}, async function work() {})`)
  const { supervisor, ended, log } = stage.supervise({ maxWorkers: 1, maxMemoryPerWorker: 1_000_000 })
  await untilLogged(log, 'replaced before it has done a job', 4)
  const starts = log.filter(({ msg }) => msg === 'worker is ready').map(({ time }) => Number(time))
  expect(starts.length).toBeLessThanOrEqual(5)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
})

test('a job that does not end in the grace period is told of, whether its process listens or not', async () => {
  const stage = await Stage.set(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  if (job.data === 'blocks') spin(Infinity)
  await new Promise(() => {})
})`)
  await stage.submit('work', ['blocks'])
  const { supervisor, ended, log } = stage.supervise({ maxWorkers: 1, graceMs: 50 })
  await stage.untilNoted(1)
  supervisor.drain()
  await ended
  expect(lineOf(log, 'did not end in time')).toMatchObject({ level: 'warn', jobs: [expect.any(String)] })
})

test('maxMemoryPerWorker replaces a process that has grown, and runs every job once', async () => {
  const stage = await Stage.set(`
const kept = []
export const grow = queueJob({}, async function grow(worker, job) {
  ran(job)
  kept.push(Buffer.alloc(40_000_000, 1))
  await sleep(100)
})`)
  await stage.submit('grow', numbers(12))
  const options = { maxWorkers: 1, concurrency: 1, maxMemoryPerWorker: 250_000_000 }
  const { log } = await stage.burst(options)
  expect(stage.lines().toSorted()).toEqual(
    numbers(12)
      .map((n) => `${n} 0`)
      .toSorted(),
  )
  expect(lineOf(log, 'it has grown too large')).toBeDefined()
  expect(stage.pids().length).toBeGreaterThanOrEqual(2)
  expect(stage.leftovers()).toEqual([])
})

test.each([
  ['a script', (code: string) => ['run.mjs', code]],
  ['code on its command line', (code: string) => ['--input-type=module', '--eval', code]],
])('a process that ran a supervisor ends by itself: %s', async (_, args) => {
  const stage = await Stage.set(`export const work = queueJob({}, async function work(worker, job) { ran(job) })`)
  await stage.submit('work', numbers(5))
  const options = {
    taskFile: stage.project.path('tasks.mjs'),
    connection: stage.connection,
    maxWorkers: 2,
    burst: true,
  }
  const code = `import { createLogger } from '@zyqueue/core'
import { createSupervisor } from '@zyqueue/core/supervisor'
const logger = createLogger({ level: 'silent' })
const before = process.eventNames().length
const { reason } = await createSupervisor({ ...${JSON.stringify(options)}, logger, workerLog: { level: 'silent' } }).run()
console.log(reason, process.eventNames().length - before)`
  writeFileSync(stage.project.path('run.mjs'), code)
  const env = { TMPDIR: stage.temporary }
  expect(await run(args(code), { cwd: stage.project.dir, env })).toEqual({ code: 0, stdout: 'burst 0\n', stderr: '' })
  expect(stage.lines()).toHaveLength(5)
  expect(stage.pids()).toHaveLength(2)
  expect(stage.leftovers()).toEqual([])
})

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startZyqueue, until } from './project.ts'
import { byJob, isAlive, numbers, SupervisorFixture, type Run } from './fixture.ts'

const JOBS = 5_000
const PREFETCH = 50
const CONCURRENCY = 5
const COUNT = `
export const count = queueJob({}, async function count(worker, job) {
  ran(job)
  await new Promise(setImmediate)
})`

/** As above, when all workers are ready; the jobs do not end before the test allows it. */
const COUNT_TOGETHER = COUNT.replace('ran(job)', "await untilExists(job.data < 1_000 ? 'go' : 'on')\n  ran(job)")

/** Jobs that ran in more than one process. */
function repeatsOf(runs: readonly Run[], killed: ReadonlySet<number>): { again: number; unexplained: number } {
  const repeated = [...byJob(runs).values()].filter((of) => of.length > 1)
  // All runs but one must belong to killed processes.
  const unexplained = repeated.filter((of) => of.filter(({ pid }) => !killed.has(pid)).length > 1)
  return { again: repeated.length, unexplained: unexplained.length }
}

test('SIGKILL of workers loses no job, and only jobs that ran run again', async () => {
  const fixture = await SupervisorFixture.create(COUNT)
  await fixture.submit('count', numbers(JOBS))
  const killed = new Set<number>()
  const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 3, prefetch: PREFETCH, concurrency: CONCURRENCY })

  for (const after of [250, 1_000, 1_750, 2_500, 3_250, 4_000]) {
    const victim = await until(`${after} runs`, () => {
      const runs = fixture.runs()
      const alive = fixture.pids().filter((pid) => isAlive(pid) && runs.some((run) => run.pid === pid))
      return runs.length >= after ? alive[Math.floor(Math.random() * alive.length)] : undefined
    })
    process.kill(victim, 'SIGKILL')
    killed.add(victim)
  }
  await until('all jobs', () => byJob(fixture.runs()).size === JOBS || undefined)
  await until('an empty queue', async () => {
    const { ready, active } = (await fixture.queue('count')) ?? {}
    return (ready === 0 && active === 0) || undefined
  })
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })

  const runs = fixture.runs()
  const { again, unexplained } = repeatsOf(runs, killed)
  expect(byJob(runs).size).toBe(JOBS)
  expect(unexplained).toBe(0)
  expect(again).toBeLessThanOrEqual(killed.size * PREFETCH)
  // Only jobs that ran count a lost delivery; jobs that waited in the process do not.
  const charged = new Set(runs.filter(({ deliveryCount }) => deliveryCount > 0).map(({ job }) => job))
  const startedByKilled = new Set(runs.filter(({ pid }) => killed.has(pid)).map(({ job }) => job))
  expect(charged.size).toBeLessThanOrEqual(killed.size * CONCURRENCY)
  // A job is recorded before its handler starts, so a kill may come between the two.
  const unseen = [...charged].filter((job) => !startedByKilled.has(job))
  expect(unseen.length).toBeLessThanOrEqual(killed.size * (CONCURRENCY - 1))
  expect(log.filter(({ msg }) => msg === 'worker ended by SIGKILL')).toHaveLength(killed.size)
  expect(await fixture.dead('count')).toEqual([])
  expect(fixture.leftovers()).toEqual([])
})

test('if the supervisor is killed, its workers finish their jobs and end, and another supervisor continues', async () => {
  const fixture = await SupervisorFixture.create(COUNT_TOGETHER)
  await fixture.submit('count', numbers(JOBS))
  const { child, ended } = await startWork(fixture, '10m')
  await fixture.untilNoted(500)
  child.kill('SIGKILL')
  writeFileSync(fixture.project.path('on'), '')
  await ended
  await until('the end of the orphans', () => fixture.pids().every((pid) => !isAlive(pid)) || undefined)
  const orphans = new Set(fixture.pids())
  expect(orphans.size).toBe(3)
  const before = fixture.runs().length
  expect(before).toBeLessThan(JOBS)
  expect(await fixture.queue('count')).toMatchObject({ ready: JOBS - before, active: 0 })

  const { result } = await fixture.burst({ prefetch: PREFETCH, concurrency: CONCURRENCY })
  expect(result).toEqual({ reason: 'burst' })
  const runs = fixture.runs()
  expect(byJob(runs).size).toBe(JOBS)
  expect(runs).toHaveLength(JOBS)
  expect(runs.filter(({ deliveryCount }) => deliveryCount > 0)).toEqual([])
  expect(fixture.leftovers().filter((left) => !left.endsWith(' Z'))).toEqual([])
})

test('if supervisor and workers are killed at once, their jobs return when the leases end', async () => {
  const fixture = await SupervisorFixture.create(COUNT_TOGETHER)
  await fixture.submit('count', numbers(JOBS))
  const { child, ended } = await startWork(fixture, '3s')
  await fixture.untilNoted(500)
  const group = new Set(fixture.pids())
  for (const pid of group) process.kill(pid, 'SIGSTOP')
  child.kill('SIGKILL')
  for (const pid of group) process.kill(pid, 'SIGKILL')
  await ended
  await until('the end of the group', () => [...group].every((pid) => !isAlive(pid)) || undefined)
  expect((await fixture.queue('count'))?.active).toBeGreaterThan(0)
  writeFileSync(fixture.project.path('on'), '')

  const { supervisor, ended: second } = fixture.supervise({ prefetch: PREFETCH, concurrency: CONCURRENCY })
  await until('an empty queue', async () => {
    const { ready, active } = (await fixture.queue('count')) ?? {}
    return (ready === 0 && active === 0) || undefined
  })
  supervisor.drain()
  await second
  const runs = fixture.runs()
  const { again, unexplained } = repeatsOf(runs, group)
  expect(byJob(runs).size).toBe(JOBS)
  expect(unexplained).toBe(0)
  expect(again).toBeLessThanOrEqual(group.size * PREFETCH)
})

test('if the supervisor is killed while a handler blocks its process, the worker starts none of its other jobs', async () => {
  const fixture = await SupervisorFixture.create(`
export const block = queueJob({}, function block(worker, job) {
  ran(job)
  while (!exists('go')) spin(1)
})`)
  await fixture.submit('block', numbers(5))
  const { child } = startZyqueue(
    ['work', '-f', 'tasks.mjs', '-C', fixture.connection, '-w', '1', '--concurrency', '1', '--prefetch', '5'],
    { cwd: fixture.project.dir, env: { TMPDIR: fixture.temporary } },
  )
  await fixture.untilNoted(1)
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
  writeFileSync(fixture.project.path('go'), '')
  await until('the end of the orphan', () => fixture.pids().every((pid) => !isAlive(pid)) || undefined)
  expect(fixture.lines()).toEqual(['0 0'])
  expect(await fixture.queue('block')).toMatchObject({ ready: 4, active: 0 })
})

async function startWork(fixture: SupervisorFixture, lease: string) {
  const numbersOf = ['-w', '3', '--prefetch', String(PREFETCH), '--concurrency', String(CONCURRENCY)]
  const started = startZyqueue(
    ['work', '-f', 'tasks.mjs', '-C', fixture.connection, '--lease', lease, '--log-level', 'warn', ...numbersOf],
    { cwd: fixture.project.dir, env: { TMPDIR: fixture.temporary } },
  )
  await until('three workers', () => fixture.pids().length === 3 || undefined)
  writeFileSync(fixture.project.path('go'), '')
  return started
}

import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { startZyqueue, until } from './project.ts'
import { byJob, lineOf, numbers, SupervisorFixture } from './fixture.ts'

test.each([
  ['process.exit(0)', 'with exit code 0'],
  [`process.kill(process.pid, 'SIGKILL')`, 'by SIGKILL'],
])(
  'a job whose handler calls %s is dead-lettered after maxDeliveries, and what waited behind it is not charged',
  async (end, how) => {
    const fixture = await SupervisorFixture.create(`
export const work = queueJob({ maxDeliveries: 3 }, async function work(worker, job) {
  ran(job)
  if (job.data === 'poison') ${end}
})`)
    await fixture.submit('work', ['poison', ...numbers(20)])
    const { result, log } = await fixture.burst({ maxWorkers: 1, concurrency: 1, prefetch: 10 })

    expect(result).toEqual({ reason: 'burst' })
    const jobs = byJob(fixture.runs())
    expect(
      jobs
        .get('poison')
        ?.map(({ deliveryCount }) => deliveryCount)
        .toSorted(),
    ).toEqual([0, 1, 2])
    jobs.delete('poison')
    expect(jobs.size).toBe(20)
    expect([...jobs.values()].map((runs) => runs.map(({ deliveryCount }) => deliveryCount))).toEqual(
      numbers(20).map(() => [0]),
    )
    expect(await fixture.dead('work')).toMatchObject([
      { reason: expect.stringMatching(/^ZYQ_JOB_POISON: 3 deliveries were lost/) },
    ])
    expect(log.filter(({ msg }) => msg === `worker ended ${how}`)).toHaveLength(3)
    expect(fixture.leftovers()).toEqual([])
  },
)

test('if jobs run at once, ended and unstarted jobs count no lost delivery', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({ maxDeliveries: 1 }, function work(worker, job) {
  ran(job)
  if (job.data === 'poison') process.exit(1)
})`)
  await fixture.submit('work', [1, 2, 3, 'poison', 4, 5])
  await fixture.burst({ maxWorkers: 1, concurrency: 10 })

  expect(await fixture.dead('work')).toMatchObject([
    { reason: expect.stringMatching(/^ZYQ_JOB_POISON: 1 delivery was lost/) },
  ])
  expect(fixture.runs().map(({ deliveryCount }) => deliveryCount)).toEqual(expect.not.arrayContaining([1]))
  expect(byJob(fixture.runs()).size).toBe(6)
})

test('a job that ended in time is not overdue because of the next job', async () => {
  const fixture = await SupervisorFixture.create(`
export const quick = queueJob({ hardTimeoutMs: 1_000 }, function quick() { note('quick') })
export const slow = queueJob({}, function slow() { note('slow'); spin(4_000) })`)
  await fixture.submit('quick', [1])
  await fixture.submit('slow', [1])
  await fixture.burst({ maxWorkers: 1, concurrency: 10 })
  expect(fixture.lines().toSorted()).toEqual(['quick', 'slow'])
})

test('jobs that ran at the same time as a poison job are not dead-lettered: the last delivery runs alone', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({ maxDeliveries: 3 }, async function work(worker, job) {
  ran(job)
  await sleep(20)
  if (job.data === 'poison') process.exit(1)
  await sleep(20)
  note('done ' + job.data)
})`)
  await fixture.submit('work', [1, 'poison', 2, 3, 4, 5, 6, 7])
  await fixture.burst({ maxWorkers: 1, concurrency: 4 })

  const lines = fixture.lines()
  expect(lines.filter((line) => line.startsWith('done')).toSorted()).toEqual(
    [1, 2, 3, 4, 5, 6, 7].map((n) => `done ${n}`),
  )
  expect(lines.filter((line) => line.startsWith('poison'))).toHaveLength(3)
  expect(await fixture.dead('work')).toMatchObject([{ reason: expect.stringContaining('ZYQ_JOB_POISON') }])
  // They counted lost deliveries, so their last delivery runs alone.
  expect(lines).toContain('1 2')
})

test.each([
  ['spins', 'spin(Infinity)', 3],
  ['waits', 'await new Promise(() => {})', 3],
  ['spins, and is allowed one delivery', 'spin(Infinity)', 1],
])(
  'a handler that %s beyond its hard timeout is killed, retried and dead-lettered; its neighbours are innocent',
  async (_, hang, maxDeliveries) => {
    const fixture = await SupervisorFixture.create(`
const retries = { limit: 1, minDelayMs: 1, maxDelayMs: 1 }
export const slow = queueJob({ hardTimeoutMs: 300, retries, maxDeliveries: ${maxDeliveries} }, async function slow(worker, job) {
  note('slow ' + job.attempt + ' ' + job.deliveryCount)
  await untilExists('notes')
  ${hang}
})
export const calm = queueJob({ retries: 0, maxDeliveries: 1 }, async function calm(worker, job) {
  note('calm ' + job.deliveryCount)
  await sleep(500)
  note('done ' + job.data)
})`)
    await fixture.submit('slow', ['x'])
    await fixture.submit('calm', [1, 2, 3])
    const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 1, concurrency: 4 })
    await until('the dead letter', async () => (await fixture.dead('slow')).length > 0 || undefined)
    // A job that had ended and was not acknowledged before the kill runs again.
    const done = (): readonly string[] => [...new Set(fixture.lines().filter((line) => line.startsWith('done')))]
    await until('the neighbours', () => done().length === 3 || undefined)
    supervisor.drain()
    await ended

    const lines = fixture.lines()
    // If several jobs run in a blocked process, the culprit is unknown: the job runs again, alone.
    const runs = lines.filter((line) => line.startsWith('slow'))
    expect(new Set(runs.map((line) => line.slice(0, 6)))).toEqual(new Set(['slow 1', 'slow 2']))
    expect(hang.startsWith('spin') ? [3, 4] : [2]).toContain(runs.length)
    expect(done().toSorted()).toEqual(['done 1', 'done 2', 'done 3'])
    expect(new Set(lines.filter((line) => line.startsWith('calm')))).toEqual(new Set(['calm 0']))
    expect(await fixture.dead('slow')).toMatchObject([
      { reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT: .*hard timeout/), headers: { 'zyq-attempts-made': '2' } },
    ])
    expect(await fixture.dead('calm')).toEqual([])
    expect(log.filter(({ msg }) => msg.includes('exceeded its hard timeout'))).toHaveLength(runs.length)
    expect(lineOf(log, 'worker ended')).toBeUndefined()
  },
)

test.each([
  ['with the same hard timeout', ''],
  ['without one', 'limitless'],
  ['that waits, with one that has just ended', 'ended'],
])(
  'a handler that blocks its process beyond its hard timeout runs once without retries, also before a job %s',
  async (_, other) => {
    const fixture = await SupervisorFixture.create(`
export const block = queueJob({ hardTimeoutMs: 1_000, retries: 0 }, async function block(worker, job) {
  note('block ' + job.data)
  if (job.data === 'first') spin(Infinity)
})
export const limitless = queueJob({ retries: 0 }, async function limitless(worker, job) { note('limitless ' + job.data) })
export const ended = queueJob({ retries: 0 }, function ended(worker, job) { note('ended ' + job.data) })`)
    if (other === 'ended') await fixture.submit('ended', ['before'])
    await fixture.submit('block', ['first', 'second'])
    if (other !== '') await fixture.submit(other, ['behind'])
    const { log } = await fixture.burst({ maxWorkers: 1, concurrency: 10 })
    expect(fixture.lines().filter((line) => line === 'block first')).toHaveLength(1)
    expect(fixture.lines()).toContain('block second')
    expect(await fixture.dead('block')).toMatchObject([{ reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT/) }])
    expect(log.filter(({ msg }) => msg.includes('exceeded its hard timeout'))).toHaveLength(1)
  },
)

test('a hard timeout dead-letters no job that was overdue because another job blocked the process', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({ hardTimeoutMs: 3_000, retries: 0 }, async function work(worker, job) {
  ran(job)
  if (job.data === 'blocker') spin(Infinity)
  await sleep(50)
  note('done ' + job.data)
})`)
  await fixture.submit('work', [1, 2, 'blocker', 3, 4, 5, 6, 7, 8, 9, 10, 11])
  await fixture.burst({ maxWorkers: 1, concurrency: 10 })
  // A job that had ended and was not acknowledged before the kill runs again.
  const done = new Set(fixture.lines().filter((line) => line.startsWith('done')))
  expect([...done].toSorted()).toEqual(
    numbers(12)
      .slice(1)
      .map((n) => `done ${n}`)
      .toSorted(),
  )
  expect(await fixture.dead('work')).toMatchObject([{ reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT/) }])
})

test('if supervisor and workers die together, no job is dead-lettered because of another job', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({ maxDeliveries: 3 }, async function work(worker, job) {
  ran(job)
  if (job.data !== 'poison') return
  process.kill(process.ppid, 'SIGKILL')
  process.kill(process.pid, 'SIGKILL')
})`)
  await fixture.submit('work', [...numbers(40), 'poison', ...numbers(80).slice(40)])
  const command = ['work', '-f', 'tasks.mjs', '-C', fixture.connection, '-w', '1', '--lease', '3s', '--burst']
  for (let alive = false; !alive;) {
    const { child, ended } = startZyqueue([...command, '--log-level', 'silent'], { cwd: fixture.project.dir })
    await ended
    alive = child.exitCode === 0
    expect(alive || child.signalCode === 'SIGKILL').toBe(true)
    // A burst would end while the dead processes hold all jobs.
    await until('the end of the lease', async () => (await fixture.queue('work'))?.workers === 0 || undefined)
  }
  expect(new Set(fixture.runs().map(({ job }) => job)).size).toBe(81)
  expect(await fixture.dead('work')).toMatchObject([
    { reason: expect.stringMatching(/^ZYQ_JOB_POISON: 3 deliveries were lost/) },
  ])
})

test('a job that ends its process during a drain counts a lost delivery', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  if (job.deliveryCount > 0) return
  await untilExists('go')
  process.exit(0)
})`)
  await fixture.submit('work', ['x'])
  const { supervisor, ended } = fixture.supervise({ maxWorkers: 1 })
  await fixture.untilNoted(1)
  supervisor.drain()
  await writeFile(fixture.project.path('go'), '')
  expect(await ended).toEqual({ reason: 'drained' })
  await fixture.burst({ maxWorkers: 1 })
  expect(fixture.lines().toSorted()).toEqual(['x 0', 'x 1'])
})

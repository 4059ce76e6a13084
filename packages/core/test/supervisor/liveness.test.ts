import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startZyqueue, until, zyqueue } from './project.ts'
import { isAlive, numbers, SupervisorFixture, stateOf, untilLogged } from './fixture.ts'

test('a handler that blocks its process for several leases keeps its job', async () => {
  const fixture = await SupervisorFixture.create(`
export const block = queueJob({}, async function block(worker, job) {
  ran(job)
  if (job.data === 'long') spin(12_000)
  note('done ' + job.data)
})`)
  await fixture.submit('block', ['long', ...numbers(5)])
  // The other process is idle and would take a released job.
  const { result, log } = await fixture.burst({ maxWorkers: 2, concurrency: 1, prefetch: 1, leaseMs: 4_000 })
  expect(result).toEqual({ reason: 'burst' })
  expect(fixture.lines().toSorted()).toEqual(
    ['long', ...numbers(5)].flatMap((job) => [`${job} 0`, `done ${job}`]).toSorted(),
  )
  expect(await fixture.queue('block')).toMatchObject({ ready: 0, active: 0 })
  expect(log.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
})

test('a handler that blocks its process for longer than a stall does not affect jobs of other processes', async () => {
  const fixture = await SupervisorFixture.create(`
export const block = queueJob({}, async function block(worker, job) {
  ran(job)
  if (job.data === 'blocks') {
    await sleep(100)
    spin(6_000)
  } else await sleep(6_300)
  note('done')
})`)
  await fixture.submit('block', ['blocks', 'waits'])
  const { log } = await fixture.burst({ maxWorkers: 2, concurrency: 3, prefetch: 3, stallMs: 2_500 })
  expect(fixture.lines().toSorted()).toEqual(['blocks 0', 'done', 'done', 'waits 0'])
  expect(log.filter(({ level }) => level === 'error')).toEqual([])
})

test('a stopped process is killed if it runs no job, and not killed if it runs one', async () => {
  const fixture = await SupervisorFixture.create(`
export const wait = queueJob({}, async function wait(worker, job) {
  ran(job)
  await untilExists('go')
  note('done')
})`)
  // With room for another job it might be stopped during a claim, and the others would wait for its lock.
  const one = { concurrency: 1, prefetch: 1 }
  const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 2, stallMs: 3_000, ...one })
  await untilLogged(log, 'worker is ready', 2)
  await fixture.submit('wait', ['x'])
  await fixture.untilNoted(1)
  const busy = fixture.runs()[0]?.pid ?? 0
  const idle = fixture.pids().find((pid) => pid !== busy) ?? 0
  for (const pid of [busy, idle]) process.kill(pid, 'SIGSTOP')
  await until('the end of the idle one', () => !isAlive(idle) || undefined)
  await untilLogged(log, 'worker is ready', 3)
  expect(log.filter(({ msg }) => msg.includes('sends no heartbeat'))).toMatchObject([{ pid: idle }])
  expect(stateOf(busy)).toBe('T')

  process.kill(busy, 'SIGCONT')
  writeFileSync(fixture.project.path('go'), '')
  await fixture.untilNoted(2)
  supervisor.drain()
  await ended
  expect(fixture.lines()).toEqual(['x 0', 'done'])
  expect(fixture.leftovers()).toEqual([])
})

test('a process that closes its channel finishes its jobs and is replaced', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  if (job.data === 'mute') process.disconnect()
  await sleep(50)
  note('done')
})`)
  await fixture.submit('work', ['mute', ...numbers(20)])
  const { result } = await fixture.burst({ maxWorkers: 1, concurrency: 2 })
  expect(result).toEqual({ reason: 'burst' })
  expect(fixture.pids()).toHaveLength(2)
  expect(fixture.lines().filter((line) => line.endsWith(' 0'))).toHaveLength(21)
  expect(fixture.lines().filter((line) => line === 'done')).toHaveLength(21)
  expect(fixture.leftovers()).toEqual([])
})

test('a process that closes its channel and hangs is killed after the grace period, and its job counts a lost delivery', async () => {
  const fixture = await SupervisorFixture.create(`
export const hang = queueJob({ maxDeliveries: 1 }, async function hang(worker, job) {
  ran(job)
  process.disconnect()
  await sleep(20)
  spin(Infinity)
})`)
  await fixture.submit('hang', ['x'])
  await fixture.burst({ maxWorkers: 1, graceMs: 100 })
  expect(fixture.lines()).toEqual(['x 0'])
  expect(await fixture.dead('hang')).toMatchObject([{ reason: expect.stringContaining('ZYQ_JOB_POISON') }])
})

test('unknown messages from a task file are ignored', async () => {
  const fixture = await SupervisorFixture.create(`
const messages = [null, 0, 'ready', [], {}, { type: 'x' }, { type: 'heartbeat' }, { type: 'consumers', consumers: [{}] }, { type: 'fatal' }, { __proto__: null }]
for (const message of messages) if (message !== undefined) process.send(message)
export const work = queueJob({}, async function work(worker, job) {
  for (const message of messages) process.send(message)
  ran(job)
})`)
  await fixture.submit('work', numbers(20))
  const { result, log } = await fixture.burst()
  expect(result).toEqual({ reason: 'burst' })
  expect(fixture.lines()).toHaveLength(20)
  expect(fixture.pids()).toHaveLength(2)
  expect(log.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
})

const COUNT = `export const count = queueJob({}, async function count(worker, job) {
  ran(job)
  if (job.data === 'deadly' && job.deliveryCount === 0) process.exit(1)
})`

/** Deletes the file itself last: otherwise it is created again, and files of the new one are deleted. */
function removeQueue(fixture: SupervisorFixture): void {
  for (const suffix of ['-wal', '-shm', '']) rmSync(fixture.project.path(`queue.db${suffix}`), { force: true })
}

test('processes and supervisor survive an unavailable broker and continue when it is back', async () => {
  const fixture = await SupervisorFixture.create(COUNT)
  const { supervisor, ended, log } = fixture.supervise()
  await untilLogged(log, 'worker is ready', 2)
  await fixture.submit('count', numbers(10))
  await fixture.untilNoted(10)
  // A foreign file in its place acts like a server that is down.
  removeQueue(fixture)
  writeFileSync(fixture.project.path('foreign'), 'not a queue '.repeat(500))
  renameSync(fixture.project.path('foreign'), fixture.project.path('queue.db'))
  const before = fixture.pids()
  await untilLogged(log, 'cannot renew the leases')
  removeQueue(fixture)
  await fixture.submit('count', ['deadly', 'last'])
  await until(
    'the jobs',
    () => fixture.lines().filter((line) => /^(last|deadly 1)/.test(line)).length >= 2 || undefined,
  )
  await untilLogged(log, 'worker is ready', 3)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
  // A job killed one process, and the reconnected supervisor reclaimed it.
  expect(fixture.pids()).toEqual(expect.arrayContaining(before))
  expect(fixture.pids()).toHaveLength(3)
  expect(log.filter(({ msg }) => msg.startsWith('worker ended'))).toHaveLength(1)
})

test('a process whose consumer keeps failing is replaced and finishes its running jobs', async () => {
  const fixture = await SupervisorFixture.create(`
export const work = queueJob({}, async function work(worker, job) {
  ran(job)
  if (job.data === 'long') await untilExists('go')
  note('done ' + job.data)
})`)
  const fails = fixture.project.path('fails')
  writeFileSync(
    fixture.project.path('failing.mjs'),
    `import { existsSync } from 'node:fs'
import sqlite from '@zyqueue/broker-sqlite'
export default { ...sqlite, name: 'failing', schemes: ['failing'], create: (options) => {
  const broker = sqlite.create({ ...options, connection: ${JSON.stringify(fixture.connection)} })
  const consume = broker.consume.bind(broker)
  broker.consume = async (...call) => {
    const consumer = await consume(...call)
    const receive = consumer.receive.bind(consumer)
    consumer.receive = async (...call) => {
      if (existsSync(${JSON.stringify(fails)})) throw new Error('no right to receive')
      return receive(...call)
    }
    return consumer
  }
  return broker
} }`,
  )
  await fixture.submit('work', ['long'])
  const { supervisor, ended, log } = fixture.supervise({
    maxWorkers: 1,
    stallMs: 1_000,
    server: fixture.project.path('failing.mjs'),
  })
  await fixture.untilNoted(1)
  writeFileSync(fails, '')
  await untilLogged(log, 'worker is replaced: receiving keeps failing: ZYQ_BROKER: ', 2)
  writeFileSync(fixture.project.path('go'), '')
  await until('the long job', () => fixture.lines().includes('done long') || undefined)
  await fixture.submit('work', ['later'])
  const { code, stdout } = await zyqueue(['doctor', '-C', fixture.connection], { cwd: fixture.project.dir })
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(
      /^warning queues +\d jobs? in work waiting and none running, as 2 s before: perhaps no worker takes them$/m,
    ),
  })
  rmSync(fails)
  await until('the later job', () => fixture.lines().includes('done later') || undefined)
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
  expect(log.filter(({ msg }) => msg.startsWith('worker ended'))).toEqual([])
})

test('a supervisor ends although its broker is unavailable', async () => {
  const fixture = await SupervisorFixture.create(COUNT)
  const { supervisor, ended, log } = fixture.supervise()
  await untilLogged(log, 'worker is ready', 2)
  removeQueue(fixture)
  writeFileSync(fixture.project.path('queue.db'), 'not a queue '.repeat(500))
  process.kill(fixture.pids()[0] ?? 0, 'SIGKILL')
  await untilLogged(log, 'worker ended by SIGKILL')
  supervisor.drain()
  expect(await ended).toEqual({ reason: 'drained' })
  expect(fixture.leftovers()).toEqual([])
})

test('neither logs nor process titles show the secrets of a connection', async () => {
  const fixture = await SupervisorFixture.create(
    `export const work = queueJob({ retries: 0 }, async function work(worker, job) {
  ran(job)
  if (job.data === 'deadly' && job.deliveryCount === 0) process.exit(1)
  if (job.data === 'bad') throw new Error('bad')
  await untilExists('go')
})`,
  )
  writeFileSync(
    fixture.project.path('vault.mjs'),
    `import sqlite from '@zyqueue/broker-sqlite'
export default { ...sqlite, name: 'vault', schemes: ['vault'],
  create: ({ baseDir }) => sqlite.create({ baseDir, connection: ${JSON.stringify(fixture.connection)} }) }`,
  )
  await fixture.submit('work', ['deadly', 'bad', 1, 2])
  const { child, ended } = startZyqueue(
    [
      'work',
      '-f',
      'tasks.mjs',
      '-w',
      '2',
      '-S',
      './vault.mjs',
      '-C',
      'vault://user:hunter2@host/?token=hunter2',
      '--log-level',
      'debug',
    ],
    { cwd: fixture.project.dir, env: { TMPDIR: fixture.temporary } },
  )
  await until(
    'the waiting',
    () => fixture.lines().filter((line) => /^(deadly 1|1|2)/.test(line)).length === 3 || undefined,
  )
  const alive = await until('two processes', () => {
    const pids = fixture.pids().filter((pid) => isAlive(pid))
    return pids.length === 2 ? pids : undefined
  })
  const titles = alive.map(
    (pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8') + readFileSync(`/proc/${pid}/comm`, 'utf8'),
  )
  expect(titles.join()).toContain('zyqueue: tasks.mjs.1')
  // An unavailable broker causes many log lines.
  removeQueue(fixture)
  writeFileSync(fixture.project.path('queue.db'), 'not a queue '.repeat(500))
  writeFileSync(fixture.project.path('go'), '')
  child.kill('SIGTERM')
  const { stdout, stderr } = await ended
  expect(stderr.split('\n').length).toBeGreaterThan(5)
  expect(titles.join() + stdout + stderr).not.toContain('hunter2')
})

import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { makeProject, startZyqueue, until, zyqueue, type Ended } from './project.ts'

/** A broker with known figures, loaded by its path like any other package. It keeps nothing between commands. */
const BROKER = `
const letter = (id, body) => ({ id, queue: 'mail', reason: 'ZYQ_JOB_FAILED: no such address', headers: { a: 'b' }, body: Buffer.from(body), diedAtMs: 0 })
const refuse = (code) => Object.assign(new Error('the broker said no'), { told: code })
const create = ({ connection = '' }) => ({
  name: 'known',
  capabilities: { durable: true, delay: 'native', lease: 'renewable', deadLetter: 'native', deliveryCount: 'native', priorities: 10, release: 'native', idempotentPublish: true, maxBatch: 100, maxBodyBytes: 1000 },
  connect: async () => { if (connection.includes('slow')) await new Promise((resolve) => setTimeout(resolve, 100).unref()); if (connection.includes('down')) throw refuse('ZYQ_UNREACHABLE') },
  close: async () => {},
  errorCode: (error) => error.told ?? 'ZYQ_BROKER',
  admin: {
    queues: async () => [{ name: 'mail', ready: 12, delayed: 0, active: 3, dead: 2, workers: 1 }, { name: 'audio' }],
    ...(!connection.includes('mute') && { workers: async () => [{ id: 'w1', client: { name: 'tasks.ts.1', host: 'here', pid: 42 }, queues: ['audio', 'mail'], active: 3 }] }),
    purge: async (queue) => { if (queue !== 'mail') throw refuse('ZYQ_QUEUE_NOT_FOUND'); return 12 },
    deadLetters: {
      list: async (queue) => queue === 'mail' ? [letter('2', '{"to":"x"}'), letter('1', '\\xff')] : [],
      requeue: async (queue, ids) => queue !== 'mail' && ids ? 0 : (ids?.filter((id) => id < 3).length ?? 2),
      purge: async (queue, ids) => ids?.filter((id) => id < 3).length ?? 2,
    },
    jobs: async (queue, { limit }) => [
      { id: '7', queue, state: 'active', headers: {}, body: Buffer.from('{"to":"y"}'), priority: 4, storedAtMs: 0 },
      { id: '8', queue, state: 'delayed', headers: {}, body: Buffer.from('{"to":"z"}'), priority: 7, readyAtMs: 60_000 },
    ].slice(0, limit),
    ...(!connection.includes('mute') && { promote: async (queue, ids) => queue === 'mail' && ids.includes('8') ? 1 : 0 }),
    cancel: async (queue, ids) => queue === 'mail' && ids.includes('8') ? 1 : 0,
    ...(connection.includes('whole') && { compact: async () => 3, shutdown: async () => {} }),
    check: async () => connection.includes('odd') ? [{ level: 'warning', message: 'odd settings', remedy: 'Correct them.' }] : [],
    version: async () => '9.1',
  },
})
export default { kind: 'zyqueue.broker', apiVersion: 2, name: 'known', schemes: ['known'], create }
`

async function ask(line: string): Promise<Ended> {
  const project = await makeProject({ files: { 'broker.mjs': BROKER } })
  return zyqueue([...line.split(' '), '--server', './broker.mjs'], { cwd: project.dir })
}

async function askJson(line: string): Promise<unknown> {
  const { code, stdout, stderr } = await ask(`${line} --json`)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

test('status', async () => {
  expect((await ask('status')).stdout).toMatchInlineSnapshot(`
    "+------------+-------+--------+---------+---------+------+
    | queue      | ready | active | workers | delayed | dead |
    +------------+-------+--------+---------+---------+------+
    | audio      | -     | -      | -       | -       | -    |
    | mail       | 12    | 3      | 1       | 0       | 2    |
    | all queues | 12    | 3      | -       | 0       | 2    |
    +------------+-------+--------+---------+---------+------+
    "
  `)
  expect(await askJson('status')).toEqual({
    broker: 'known',
    queues: [{ name: 'audio' }, { name: 'mail', ready: 12, delayed: 0, active: 3, dead: 2, workers: 1 }],
    total: { ready: 12, delayed: 0, active: 3, dead: 2 },
  })
  expect(await askJson('status audio')).toEqual({ broker: 'known', queues: [{ name: 'audio' }], total: {} })
  const unknown = await ask('status maul')
  expect(unknown).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('queue "maul" does not exist; did you mean "mail"?'),
  })
})

test('status shows the age of the oldest ready job, and with --watch the rates', async () => {
  const project = await makeProject({ files: {} })
  const submitted = await zyqueue(['submit', 't', '[1,2]'], { cwd: project.dir })
  expect(submitted.code).toBe(0)
  expect((await zyqueue(['status'], { cwd: project.dir })).stdout).toMatch(
    /ready \| oldest \| active .*\n.*\n\| t +\| 2 +\| \d+s /,
  )
  const { child, ended } = startZyqueue(['status', '--json', '--watch', '100ms'], { cwd: project.dir })
  let printed = ''
  child.stdout?.on('data', (chunk: Buffer) => (printed += chunk.toString()))
  await until('two looks', () => (printed.split('\n').length > 2 ? true : undefined))
  child.kill()
  await ended
  const [first, second] = printed
    .split('\n')
    .slice(0, 2)
    .map((line): unknown => JSON.parse(line))
  const queue = { name: 't', ready: 2, oldestStoredAtMs: expect.any(Number) }
  expect(first).toMatchObject({ queues: [queue], total: { ready: 2 } })
  expect(first).not.toHaveProperty('total.readyPerSecond')
  expect(second).toMatchObject({ queues: [{ ...queue, readyPerSecond: 0 }], total: { ready: 2, readyPerSecond: 0 } })
})

test('workers', async () => {
  expect((await ask('workers')).stdout).toMatchInlineSnapshot(`
    "+------+------------+-----+--------+-------------+
    | host | name       | pid | active | queues      |
    +------+------------+-----+--------+-------------+
    | here | tasks.ts.1 | 42  | 3      | audio, mail |
    +------+------------+-----+--------+-------------+
    "
  `)
  expect(await askJson('workers')).toEqual({
    broker: 'known',
    workers: [
      { id: 'w1', client: { name: 'tasks.ts.1', host: 'here', pid: 42 }, queues: ['audio', 'mail'], active: 3 },
    ],
  })
})

test.each(['status', 'workers', 'jobs mail', 'brokers'])(
  'the heads of the table of %s are names of its JSON document',
  async (command) => {
    const [, heads = ''] = (await ask(command)).stdout.split('\n')
    const { stdout } = await ask(`${command} --json`)
    // The document has times as numbers, the name of a queue below `queues`, and an error only of a faulty broker.
    const names = [...stdout.matchAll(/"(\w+)":/g)].map(([, name = '']) => name.replace(/AtMs$/, 'At'))
    const known = new Set(['queue', 'error', ...names])
    const words = heads.split('|').map((head) => head.trim())
    expect(words.filter((word) => word !== '' && !known.has(word))).toEqual([])
    expect(words.length).toBeGreaterThan(3)
  },
)

test('purge', async () => {
  expect((await ask('purge mail --yes')).stdout).toBe('Deleted 12 jobs from mail.\n')
  expect(await askJson('purge mail --yes')).toEqual({ queue: 'mail', purged: 12 })
  expect(await ask('purge none --yes')).toMatchObject({ code: 4, stdout: '' })
})

test('jobs', async () => {
  expect((await ask('jobs mail')).stdout).toMatchInlineSnapshot(`
    "+----+---------+----------+--------------------------+--------------------------+------------+
    | id | state   | priority | storedAt                 | readyAt                  | data       |
    +----+---------+----------+--------------------------+--------------------------+------------+
    | 7  | active  | 4        | 1970-01-01T00:00:00.000Z | -                        | {"to":"y"} |
    | 8  | delayed | 7        | -                        | 1970-01-01T00:01:00.000Z | {"to":"z"} |
    +----+---------+----------+--------------------------+--------------------------+------------+
    "
  `)
  expect(await askJson('jobs mail --limit 1')).toEqual({
    queue: 'mail',
    jobs: [{ id: '7', state: 'active', priority: 4, storedAtMs: 0, headers: {}, data: { to: 'y' } }],
  })
})

test('promote searches all queues, or one, and is refused if the broker cannot do it', async () => {
  expect((await ask('promote 8')).stdout).toBe('1 job promoted.\n')
  expect(await ask('promote 7 8')).toEqual({
    code: 0,
    stdout: '1 job promoted.\n',
    stderr: 'zyqueue: no delayed job has the id 7\n',
  })
  expect(await askJson('promote 8 7 --queue mail')).toEqual({ promoted: { mail: 1 }, notFound: ['7'] })
  expect((await ask('promote 7')).stderr).toContain('no delayed job has one of these ids: 7 (ZYQ_JOB_NOT_FOUND)')
  expect(await ask('promote 8 --connection mute')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('cannot make delayed jobs ready'),
  })
})

test('cancel searches all queues, or one', async () => {
  expect((await ask('cancel 8')).stdout).toBe('1 job cancelled.\n')
  expect(await ask('cancel 7 8 9 8')).toEqual({
    code: 0,
    stdout: '1 job cancelled.\n',
    stderr: 'zyqueue: no waiting job has the id 7, 9\n',
  })
  expect(await askJson('cancel 8 7')).toEqual({ cancelled: { mail: 1 }, notFound: ['7'] })
  expect(await ask('cancel 8 --queue audio')).toMatchObject({ code: 4, stdout: '' })
  expect((await ask('cancel 7')).stderr).toContain('no waiting job has one of these ids: 7 (ZYQ_JOB_NOT_FOUND)')
})

test('compact, shutdown and workers exit with 5 if the broker does not have them', async () => {
  expect(await ask('workers -C mute')).toMatchObject({ code: 5, stderr: expect.stringContaining('ZYQ_UNSUPPORTED') })
  expect(await ask('compact mail')).toMatchObject({ code: 5, stderr: expect.stringContaining('cannot compact') })
  expect(await ask('shutdown --yes')).toMatchObject({ code: 5, stdout: '' })
  expect(await askJson('compact mail -C whole')).toEqual({ queue: 'mail', compacted: 3 })
  expect(await askJson('shutdown --yes -C whole')).toEqual({ broker: 'known', shutdown: true })
  expect(await ask('shutdown -C whole')).toMatchObject({ code: 2, stderr: expect.stringContaining('Add --yes') })
})

test('dead', async () => {
  expect((await ask('dead list mail')).stdout.replaceAll(/\d+d/g, '20000d')).toBe(
    [
      '+----+--------+-----------------+',
      '| id | age    | reason          |',
      '+----+--------+-----------------+',
      '| 2  | 20000d | no such address |',
      '| 1  | 20000d | no such address |',
      '+----+--------+-----------------+',
      '',
    ].join('\n'),
  )
  expect(await askJson('dead list')).toEqual({
    queues: {
      mail: [
        { id: '2', reason: 'ZYQ_JOB_FAILED: no such address', diedAtMs: 0, headers: { a: 'b' }, data: { to: 'x' } },
        { id: '1', reason: 'ZYQ_JOB_FAILED: no such address', diedAtMs: 0, headers: { a: 'b' }, body: 'w78=' },
      ],
      audio: [],
    },
  })
  expect(await askJson('dead retry mail 1')).toEqual({ requeued: { mail: 1 } })
  expect(await askJson('dead retry --all')).toEqual({ requeued: { mail: 2, audio: 2 } })
  expect(await askJson('dead retry --id 1,3')).toEqual({ requeued: { mail: 1 } })
  for (const line of ['retry --id 3', 'retry mail 3', 'purge mail 3 --yes', 'purge --id 3 --yes']) {
    expect(await ask(`dead ${line}`)).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(/ids: 3 /),
    })
  }
  expect(await ask('dead retry mail 1 3')).toEqual({
    code: 0,
    stdout: '1 dead letter put back.\n',
    stderr: 'zyqueue: no dead letter found for 1 id\n',
  })
  expect(await askJson('dead purge mail 1 2 --yes')).toEqual({ purged: { mail: 2 } })
  expect((await ask('dead purge mail --yes')).stdout).toBe('2 dead letters deleted.\n')
})

test('doctor', async () => {
  const healthy = await ask('doctor')
  expect(healthy).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ok +settings +no remarks$/m) })
  expect(await askJson('doctor -C odd')).toMatchObject({
    ok: true,
    steps: expect.arrayContaining([
      { step: 'version', status: 'ok', detail: 'known 9.1' },
      { step: 'settings', status: 'warning', detail: 'odd settings', remedy: 'Correct them.' },
    ]),
  })
  // A pending promise does not keep the process alive.
  expect(await ask('doctor -C slow')).toMatchObject({ code: 0, stdout: expect.stringContaining('connected to known') })
  const down = await ask('doctor -C down')
  expect(down).toMatchObject({ code: 3, stdout: expect.stringMatching(/^failed +connection .*ZYQ_UNREACHABLE/m) })
})

test('if the queue file is missing, a command exits with 4 and does not create it', async () => {
  const project = await makeProject({ files: {} })
  const before = await readdir(project.dir)
  for (const command of [
    'status',
    'workers -C sqlite:mistyped/queue.db',
    'jobs q',
    'cancel 1',
    'purge q --yes',
    'dead list',
  ]) {
    const { code, stderr } = await zyqueue(command.split(' '), { cwd: project.dir })
    expect({ command, code }).toEqual({ command, code: 4 })
    expect(stderr).toMatch(/There is no queue file: .*queue\.db \(ZYQ_STORAGE_NOT_FOUND\)/)
  }
  const doctor = await zyqueue(['doctor'], { cwd: project.dir })
  expect(doctor).toMatchObject({
    code: 4,
    stdout: expect.stringMatching(/^failed +connection +There is no queue file/m),
  })
  expect(await readdir(project.dir)).toEqual(before)
  expect(await zyqueue(['submit', 'q', '1'], { cwd: project.dir })).toMatchObject({ code: 0 })
  expect(await zyqueue(['doctor'], { cwd: project.dir })).toMatchObject({ code: 0 })
})

test('exits with 3 if the broker cannot be reached, and with 4 if it is not installed', async () => {
  const down = await ask('status -C down --json')
  expect(down).toMatchObject({ code: 3, stdout: '' })
  expect(JSON.parse(down.stderr).error).toMatchObject({ code: 'ZYQ_UNREACHABLE', remedy: expect.any(String) })
  const project = await makeProject({ files: {} })
  const missing = await zyqueue(['status', '-S', 'carrier-pigeon'], { cwd: project.dir })
  expect(missing).toMatchObject({ code: 4, stderr: expect.stringContaining('zyqueue-broker-carrier-pigeon') })
})

test('a priority may be a name, and a queue may have the name of a property of every object', async () => {
  const { dir: cwd } = await makeProject({ files: {} })
  const submitted = await zyqueue(['submit', '__proto__', '1', '--priority', 'high', '--json'], { cwd })
  const { id } = JSON.parse(submitted.stdout)
  const { stdout } = await zyqueue(['jobs', '__proto__', '--json'], { cwd })
  expect(JSON.parse(stdout).jobs).toMatchObject([{ id, priority: 7 }])
  const cancelled = await zyqueue(['cancel', id, '--queue', '__proto__', '--json'], { cwd })
  expect(cancelled).toMatchObject({ code: 0, stdout: '{"cancelled":{"__proto__":1},"notFound":[]}\n' })
})

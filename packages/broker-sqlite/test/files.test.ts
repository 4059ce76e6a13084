import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import plugin from '../src/index.ts'
import { SqliteBroker } from '../src/broker.ts'
import { drivers, type Driver } from '../src/driver.ts'
import { VERSION } from '../src/schema.ts'
import { consume, message, messages, openBroker, receive, temporaryFolder } from './support.ts'

/** Expects that connect rejects with the code, and that no byte and no file of the folder changes. */
async function expectRefused(path: string, code: string, driver: Driver): Promise<void> {
  const folder = join(path, '..')
  const before = readdirSync(folder).sort()
  const bytes = readFileSync(path)
  const broker = new SqliteBroker({ connection: `sqlite:${path}`, baseDir: '/' }, driver)
  onTestFinished(() => broker.close())
  await expect(broker.connect()).rejects.toMatchObject({ code, message: expect.stringContaining(path) })
  await broker.close()
  expect(readFileSync(path).equals(bytes)).toBe(true)
  expect(readdirSync(folder).sort()).toEqual(before)
}

/** A valid queue of some pages that no process uses. */
async function queueFile(): Promise<string> {
  const path = join(temporaryFolder(), 'queue.db')
  const broker = await openBroker(path)
  await broker.publish(messages(1000))
  await broker.close()
  return path
}

describe.each(drivers())('a file that is not a valid queue is refused and unchanged ($name)', (driver) => {
  test('bytes that are no database', async () => {
    const path = join(temporaryFolder(), 'notes.txt')
    writeFileSync(path, 'Dear diary, today I learned about queues. '.repeat(200))
    await expectRefused(path, 'ZYQ_STORAGE_FOREIGN', driver)
  })

  test.each(['DELETE', 'WAL'])("another program's database, journal mode %s", async (mode) => {
    const path = join(temporaryFolder(), 'theirs.db')
    const connection = driver.open(path)
    connection.exec('CREATE TABLE queue_file.theirs (x); INSERT INTO theirs VALUES (1)')
    if (mode === 'WAL') connection.exec('PRAGMA queue_file.journal_mode = WAL')
    connection.close()
    await expectRefused(path, 'ZYQ_STORAGE_FOREIGN', driver)
  })

  test('a database in UTF-16', async () => {
    const path = await queueFile()
    const bytes = readFileSync(path)
    bytes.writeUInt32BE(2, 56)
    writeFileSync(path, bytes)
    await expectRefused(path, 'ZYQ_STORAGE_FOREIGN', driver)
  })

  test('a queue of a newer version', async () => {
    const path = await queueFile()
    const connection = driver.open(path)
    connection.exec(`PRAGMA queue_file.user_version = ${VERSION + 1}`)
    connection.close()
    await expectRefused(path, 'ZYQ_STORAGE_VERSION', driver)
  })

  test('a truncated queue', async () => {
    const path = await queueFile()
    truncateSync(path, 8192)
    await expectRefused(path, 'ZYQ_STORAGE_DAMAGED', driver)
  })

  test('a queue with garbage in its middle, left by a killed process with pages in the -wal file', async () => {
    const [live, left] = [await queueFile(), join(temporaryFolder(), 'queue.db')]
    const broker = await openBroker(live, driver)
    await broker.publish(messages(500))
    const bytes = readFileSync(live)
    bytes.fill(0xaa, 4096 * 3, 4096 * 6)
    writeFileSync(left, bytes)
    copyFileSync(`${live}-wal`, `${left}-wal`)
    const wal = readFileSync(`${left}-wal`)
    expect(wal.length).toBeGreaterThan(4096)
    const other = new SqliteBroker({ connection: `sqlite:${left}`, baseDir: '/' }, driver)
    await expect(other.connect()).rejects.toMatchObject({ code: 'ZYQ_STORAGE_DAMAGED' })
    await other.close()
    expect(readFileSync(left).equals(bytes)).toBe(true)
    expect(readFileSync(`${left}-wal`).equals(wal)).toBe(true)
  })

  test('a queue with garbage in its middle', async () => {
    const path = await queueFile()
    const bytes = readFileSync(path)
    bytes.fill(0xaa, 4096 * 3, 4096 * 6)
    writeFileSync(path, bytes)
    await expectRefused(path, 'ZYQ_STORAGE_DAMAGED', driver)
  })
})

test('damage that is found later has the same code', async () => {
  const path = await queueFile()
  const broker = await openBroker(path)
  const file = readFileSync(path)
  writeFileSync(path, file.fill(0xaa, 4096))
  const error: unknown = await broker.publish([message('a')]).catch((error: unknown) => error)
  expect(broker.errorCode(error)).toBe('ZYQ_STORAGE_DAMAGED')
})

test('an empty file becomes a queue', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  writeFileSync(path, '')
  const broker = await openBroker(path)
  expect(await broker.publish([message('a')])).toEqual([{ status: 'stored' }])
})

test('with create: false a broker opens an existing file and creates none', async () => {
  const folder = temporaryFolder()
  const connection = `sqlite:${join(folder, 'deep', 'queue.db')}`
  const looking = plugin.create({ connection, baseDir: '/', create: false })
  onTestFinished(() => looking.close())
  const error: unknown = await looking.connect().catch((error: unknown) => error)
  expect(looking.errorCode(error)).toBe('ZYQ_STORAGE_NOT_FOUND')
  expect(readdirSync(folder)).toEqual([])
  const working = plugin.create({ connection, baseDir: '/' })
  onTestFinished(() => working.close())
  await working.connect()
  await working.publish([message('a')])
  await looking.connect()
  expect(await looking.admin.queues()).toMatchObject([{ name: 'q', ready: 1 }])
})

test('with create: false an empty file stays empty', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'queue.db')
  writeFileSync(path, '')
  const looking = plugin.create({ connection: `sqlite:${path}`, baseDir: '/', create: false })
  onTestFinished(() => looking.close())
  await expect(looking.connect()).rejects.toMatchObject({
    code: 'ZYQ_STORAGE_NOT_FOUND',
    message: expect.stringContaining(path),
  })
  expect(readdirSync(folder)).toEqual(['queue.db'])
  expect(readFileSync(path)).toHaveLength(0)
})

test('without a path the queue is in .zyqueue beside the nearest package.json, ignored by git', async () => {
  const project = temporaryFolder()
  const inside = join(project, 'src', 'deep')
  mkdirSync(inside, { recursive: true })
  writeFileSync(join(project, 'package.json'), '{}')
  for (const options of [{ baseDir: inside }, { baseDir: project, connection: 'sqlite:' }]) {
    const broker = plugin.create(options)
    await broker.connect()
    await broker.publish([message('a')])
    await broker.close()
  }
  expect(existsSync(join(project, '.zyqueue', 'queue.db'))).toBe(true)
  expect(readFileSync(join(project, '.zyqueue', '.gitignore'), 'utf8')).toBe('*\n')
  const broker = plugin.create({ baseDir: project })
  onTestFinished(() => broker.close())
  await broker.connect()
  expect(await broker.admin.queues()).toMatchObject([{ name: 'q', ready: 2 }])
})

test('a relative path with all characters that are special in a URI, in a folder that does not exist yet', async () => {
  const folder = temporaryFolder()
  const name = 'new folder/a %41?b#c&d=é.db'
  for (const id of ['a', 'b']) {
    const broker = plugin.create({ baseDir: folder, connection: `sqlite:${name}` })
    await broker.connect()
    await broker.publish([message(id)])
    await broker.close()
  }
  expect(existsSync(join(folder, name))).toBe(true)
  const files = readdirSync(join(folder, 'new folder'))
  expect(files.filter((file) => !file.startsWith('a %41?b#c&d=é.db'))).toEqual([])
})

test('a symbolic link and the file itself are one queue', async () => {
  const folder = temporaryFolder()
  const broker = await openBroker(join(folder, 'queue.db'))
  symlinkSync(join(folder, 'queue.db'), join(folder, 'link.db'))
  const linked = await openBroker(join(folder, 'link.db'))
  await linked.publish([message('a')])
  expect(await broker.admin.queues()).toMatchObject([{ ready: 1 }])
  expect(readdirSync(folder)).not.toContain('link.db-wake')
})

test('a queue file that was removed or replaced is a lost connection and a lost lease; connecting makes a new one', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const broker = await openBroker(path)
  await broker.publish([message('a')])
  const consumer = await consume(broker)
  const held = await receive(consumer, 1)
  renameSync(path, `${path}.old`)
  await expect(broker.publish([message('b')])).rejects.toMatchObject({ code: 'ZYQ_CONNECTION_LOST' })
  for (const left of ['-wal', '-shm']) rmSync(path + left, { force: true })
  await broker.connect()
  expect(await broker.publish([message('c')])).toEqual([{ status: 'stored' }])

  const heir = await consume(broker)
  const delivered = await receive(heir, 1)
  expect(await consumer.ack(held)).toEqual([{ status: 'lease-lost' }])
  await expect(consumer.receive(1, { signal: new AbortController().signal })).rejects.toMatchObject({
    code: 'ZYQ_LEASE_LOST',
  })
  await consumer.close()
  expect(delivered).toMatchObject([{ id: 'c' }])
  expect(await heir.ack(delivered)).toEqual([{ status: 'ok' }])
})

test('a folder instead of the file, or a file instead of the folder, is unreachable', async () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'file'), 'x')
  for (const path of [folder, join(folder, 'file', 'queue.db')]) {
    const broker = plugin.create({ connection: `sqlite:${path}`, baseDir: '/' })
    await expect(broker.connect()).rejects.toMatchObject({ code: 'ZYQ_UNREACHABLE' })
    await broker.close()
  }
})

test('a folder without permission has the code ZYQ_AUTH', () => {
  const folder = temporaryFolder()
  chmodSync(folder, 0o755)
  mkdirSync(join(folder, 'locked'), { mode: 0o555 })
  const script = new URL('children/forbidden.js', import.meta.url).pathname
  const file = join(folder, 'locked', 'queue.db')
  expect(spawnSync(process.execPath, [script, file], { encoding: 'utf8' })).toMatchObject({
    stdout: 'ZYQ_AUTH',
    stderr: '',
  })
})

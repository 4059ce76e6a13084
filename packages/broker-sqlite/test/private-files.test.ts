import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { SqliteBroker } from '../src/broker.ts'
import { drivers, type Driver } from '../src/driver.ts'
import { consume, eventually, message, messages, openBroker, receive, temporaryFolder } from './support.ts'

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8)
}

/** The content and the time of each file. */
function filesOf(folder: string): readonly object[] {
  return readdirSync(folder)
    .toSorted()
    .map((name) => {
      const { mtimeMs, ctimeMs, ino } = statSync(join(folder, name))
      return { name, mtimeMs, ctimeMs, ino, bytes: readFileSync(join(folder, name)).toString('base64') }
    })
}

async function openExisting(path: string, driver: Driver): Promise<SqliteBroker> {
  const broker = new SqliteBroker({ connection: `sqlite:${path}`, baseDir: '/', create: false }, driver)
  onTestFinished(() => broker.close())
  await broker.connect()
  return broker
}

describe.each(drivers())('files of a queue ($name)', (driver) => {
  test('other users can neither read nor write them', async () => {
    const project = temporaryFolder()
    writeFileSync(join(project, 'package.json'), '{}')
    const broker = new SqliteBroker({ baseDir: project }, driver)
    onTestFinished(() => broker.close())
    await broker.connect()
    await broker.publish([message('a')])
    const folder = join(project, '.zyqueue')
    expect(modeOf(folder)).toBe('700')
    const modes = readdirSync(folder).map((name) => [name, modeOf(join(folder, name))])
    expect(Object.fromEntries(modes)).toEqual({
      '.gitignore': '600',
      'queue.db': '600',
      'queue.db-shm': '600',
      'queue.db-wake': '600',
      'queue.db-wal': '600',
    })
  })

  test('they have the permissions that the queue file was given', async () => {
    const path = join(temporaryFolder(), 'queue.db')
    await (await openBroker(path, driver)).close()
    chmodSync(path, 0o660)
    rmSync(`${path}-wake`, { force: true })
    const broker = await openBroker(path, driver)
    await broker.publish([message('a')])
    for (const end of ['-shm', '-wake', '-wal']) expect(modeOf(path + end)).toBe('660')
  })

  test.each(['a symbolic link', 'a hard link', 'a symbolic link that leads nowhere', 'a folder'])(
    'queue.db-wake that is %s is not written, and jobs are delivered',
    async (kind) => {
      const folder = temporaryFolder()
      const [path, victim] = [join(folder, 'queue.db'), join(folder, 'victim')]
      if (!kind.endsWith('nowhere')) writeFileSync(victim, 'precious')
      if (kind === 'a hard link') linkSync(victim, `${path}-wake`)
      else if (kind === 'a folder') mkdirSync(`${path}-wake`)
      else symlinkSync(victim, `${path}-wake`)
      const broker = await openBroker(path, driver)
      const consumer = await consume(broker)
      const received = receive(consumer, 1)
      await broker.publish([message('a')])
      expect(await received).toMatchObject([{ id: 'a' }])
      if (kind.endsWith('nowhere')) expect(existsSync(victim)).toBe(false)
      else expect(readFileSync(victim, 'utf8')).toBe('precious')
    },
  )

  test('no file is created through a symbolic link that leads nowhere', async () => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, '.zyqueue'))
    symlinkSync(join(folder, 'first'), join(folder, '.zyqueue', '.gitignore'))
    symlinkSync(join(folder, 'second'), join(folder, 'queue.db'))
    for (const connection of ['sqlite:', `sqlite:${join(folder, 'queue.db')}`]) {
      writeFileSync(join(folder, 'package.json'), '{}')
      const broker = new SqliteBroker({ connection, baseDir: folder }, driver)
      onTestFinished(() => broker.close())
      await expect(broker.connect()).rejects.toMatchObject({ code: 'ZYQ_UNREACHABLE' })
    }
    expect(existsSync(join(folder, 'first'))).toBe(false)
    expect(existsSync(join(folder, 'second'))).toBe(false)
  })

  test('reading an unused queue with create: false changes no file', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'queue.db')
    const writer = await openBroker(path, driver)
    await writer.publish(messages(3))
    await writer.close()
    rmSync(`${path}-wake`, { force: true })
    const before = filesOf(folder)
    const { admin, ...broker } = await openExisting(path, driver).then((opened) => ({
      admin: opened.admin,
      close: () => opened.close(),
    }))
    expect(await admin.queues()).toMatchObject([{ name: 'q', ready: 3 }])
    expect(await admin.workers()).toEqual([])
    expect(await admin.jobs('q', { limit: 5 })).toHaveLength(3)
    expect(await admin.deadLetters.list('q', { limit: 5 })).toEqual([])
    expect(await admin.check()).toEqual([])
    expect(await admin.version()).toContain(driver.name)
    expect(filesOf(folder)).toEqual(before)
    await broker.close()
    expect(filesOf(folder)).toEqual(before)
  })

  test('a broker with create: false sees what others store, and can write', async () => {
    const path = join(temporaryFolder(), 'queue.db')
    const writer = await openBroker(path, driver)
    await writer.publish(messages(2))
    await writer.close()
    const looking = await openExisting(path, driver)
    const ready = async (): Promise<number | undefined> => (await looking.admin.queues())[0]?.ready
    expect(await ready()).toBe(2)
    const other = await openBroker(path, driver)
    await other.publish([message('later')])
    expect(await ready()).toBe(3)
    await other.publish([message('last')])
    expect(await ready()).toBe(4)
    expect(await Promise.all([looking.admin.purge('q'), looking.admin.cancel('q', ['none'])])).toEqual([4, 0])
    expect(await ready()).toBe(0)
    const consumer = await consume(looking)
    await other.publish([message('after')])
    expect(await receive(consumer, 1)).toMatchObject([{ id: 'after' }])
    await eventually(async () => (await other.admin.queues())[0]?.active === 1)
  })
})

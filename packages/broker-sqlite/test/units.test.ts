import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { drivers } from '../src/driver.ts'
import { errorCode } from '../src/errors.ts'
import plugin from '../src/index.ts'
import { encodeMessage, ID_BYTES, isMessageId, readId, readMessage } from '../src/message.ts'
import { parseLocation } from '../src/options.ts'
import { migrate, MIGRATIONS } from '../src/schema.ts'
import { Sql } from '../src/sql.ts'
import { Transactions } from '../src/transactions.ts'

const [driver] = drivers()

test('the plugin is what core looks for', () => {
  expect(plugin).toMatchObject({ kind: 'zyqueue.broker', apiVersion: 2, name: 'sqlite', schemes: ['sqlite'] })
  const { capabilities } = plugin.create({ baseDir: '/' })
  expect(Object.isFrozen(capabilities)).toBe(true)
})

describe('messages', () => {
  const headers = fc.dictionary(fc.string(), fc.string())

  test('come back as they were', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x20-\x7e]{1,63}$/), headers, fc.uint8Array(), (id, headers, body) => {
        expect(isMessageId(id)).toBe(true)
        const encoded = encodeMessage({ id, headers, body })
        const decoded = readMessage(1, encoded)
        expect(decoded.undecodable).toBe(undefined)
        expect(decoded.id).toBe(id)
        expect(Object.entries(decoded.headers)).toEqual(Object.entries(headers))
        expect(Object.getPrototypeOf(decoded.headers)).toBe(null)
        expect(Buffer.compare(decoded.body, body)).toBe(0)
        expect(readId(1, encoded.subarray(0, ID_BYTES + 1))).toBe(id)
      }),
    )
  })

  test('that cannot be read are all body', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.nat(), (bytes, seq) => {
        const { id, body, undecodable } = readMessage(seq, bytes)
        expect(isMessageId(id)).toBe(true)
        expect(id).toBe(readId(seq, bytes.subarray(0, ID_BYTES + 1)))
        if (undecodable !== undefined) expect(Buffer.compare(body, bytes)).toBe(0)
      }),
    )
  })

  test('that are of another type are all body', () => {
    for (const column of [null, undefined, 7, 'text', new Uint8Array()]) {
      expect(readMessage(3, column)).toMatchObject({ id: 'undecodable-3', undecodable: expect.any(String) })
    }
    expect(String(readMessage(3, 'text').body)).toBe('text')
  })
})

describe('connection strings', () => {
  test.each([
    [undefined, { kind: 'default', baseDir: '/base' }],
    ['sqlite:', { kind: 'default', baseDir: '/base' }],
    ['sqlite::memory:', { kind: 'memory' }],
    ['sqlite:jobs.db', { kind: 'file', path: '/base/jobs.db' }],
    ['sqlite:../jobs.db', { kind: 'file', path: '/jobs.db' }],
    ['sqlite:/var/jobs.db', { kind: 'file', path: '/var/jobs.db' }],
    ['sqlite:///var/jobs.db', { kind: 'file', path: '/var/jobs.db' }],
    ['SQLite:jobs.db', { kind: 'file', path: '/base/jobs.db' }],
  ])('%s', (connection, location) => {
    expect(parseLocation({ ...(connection === undefined ? {} : { connection }), baseDir: '/base' })).toEqual(location)
  })

  test.each(['redis://localhost', 'jobs.db', 'sqlite://host/jobs.db', 'sqlite:a\0b', ''])(
    '%j is refused',
    (connection) => {
      expect(() => parseLocation({ connection, baseDir: '/base' })).toThrow(
        expect.objectContaining({ code: 'ZYQ_CONNECTION_STRING' }),
      )
    },
  )
})

describe('error codes', () => {
  test.each([
    [{ errcode: 5 }, 'ZYQ_BROKER_BUSY'],
    [{ errcode: 261 }, 'ZYQ_BROKER_BUSY'],
    [{ rawCode: 13 }, 'ZYQ_BROKER_FULL'],
    [{ rawCode: 779 }, 'ZYQ_STORAGE_DAMAGED'],
    [{ errcode: 26 }, 'ZYQ_STORAGE_FOREIGN'],
    [{ errcode: 1032 }, 'ZYQ_AUTH'],
    [{ errcode: 14 }, 'ZYQ_UNREACHABLE'],
    [{ errcode: 266 }, 'ZYQ_CONNECTION_LOST'],
    [{ errcode: 1 }, 'ZYQ_BROKER'],
    [Object.assign(new Error('EACCES'), { code: 'EACCES' }), 'ZYQ_AUTH'],
    [Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }), 'ZYQ_BROKER_FULL'],
    [new Error('anything'), 'ZYQ_BROKER'],
    [undefined, 'ZYQ_BROKER'],
  ])('%o', (error, code) => {
    expect(errorCode(error)).toBe(code)
  })

  test('an error whose properties throw has a code too', () => {
    const hostile = Object.defineProperty({}, 'code', { get: () => expect.fail('looked at') })
    expect(errorCode(hostile)).toBe('ZYQ_BROKER')
  })
})

describe.each(drivers())('migrations ($name)', ({ open }) => {
  test('bring an older queue up to date and keep what is in it', () => {
    const connection = open(':memory:')
    migrate(connection)
    connection.exec("INSERT INTO queue (name) VALUES ('kept')")
    const later = [...MIGRATIONS, 'ALTER TABLE queue ADD COLUMN colour TEXT', "UPDATE queue SET colour = 'red'"]
    expect(() => migrate(connection, later)).not.toThrow()
    expect(connection.prepare('SELECT name, colour FROM queue').all()).toEqual([['kept', 'red']])
    expect(connection.prepare('PRAGMA queue_file.user_version').all()).toEqual([[later.length]])
  })

  test('that fail leave the queue as it was', () => {
    const connection = open(':memory:')
    migrate(connection)
    const broken = [...MIGRATIONS, 'CREATE TABLE queue_file.extra (x)', 'CREATE TABLE queue_file.extra (again)']
    expect(() => migrate(connection, broken)).toThrow()
    expect(connection.prepare('PRAGMA queue_file.user_version').all()).toEqual([[MIGRATIONS.length]])
    expect(connection.prepare("SELECT count(*) FROM queue_file.sqlite_schema WHERE name = 'extra'").all()).toEqual([
      [0],
    ])
  })
})

describe('transactions', () => {
  function setUp(): { transactions: Transactions; begun: () => number; rows: () => unknown } {
    const connection = driver.open(':memory:')
    connection.exec('CREATE TABLE t (x INTEGER PRIMARY KEY)')
    let begun = 0
    const sql = new Sql(connection)
    const before = (): void => void begun++
    const transactions = new Transactions(connection, sql, { before, makeRoom: () => false, rolledBack: () => {} })
    return {
      transactions,
      begun: () => begun,
      rows: () => connection.prepare('SELECT x FROM t ORDER BY x').all().flat(),
    }
  }

  test('concurrent work shares one transaction', async () => {
    const { transactions, begun, rows } = setUp()
    await Promise.all([1, 2, 3].map((x) => transactions.run((sql) => sql.run('INSERT INTO t VALUES (?1)', x))))
    expect(rows()).toEqual([1, 2, 3])
    expect(begun()).toBe(1)
  })

  test('work that fails does not fail other work of its transaction', async () => {
    const { transactions, rows } = setUp()
    const outcomes = await Promise.allSettled(
      [1, 2, 1, 3].map((x) => transactions.run((sql) => sql.run('INSERT INTO t VALUES (?1)', x))),
    )
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
    expect(rows()).toEqual([1, 2, 3])
    await transactions.idle()
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorCode, isPutOff, ServerError } from '../src/errors.ts'
import { Keys } from '../src/keys.ts'
import { encodeMessage, isMessageId, readMessage } from '../src/message.ts'
import { locationOf, parseDeployment } from '../src/options.ts'
import { dedupeRuns } from '../src/publish/dedupe.ts'
import { slotOf } from '../src/connection/hash-slot.ts'

const place = (connection: string) => parseDeployment({ connection, baseDir: '/base' })

describe('connection strings', () => {
  test('without one, the server is on this host', () => {
    expect(parseDeployment({ baseDir: '/' })).toMatchObject({
      kind: 'server',
      hosts: [{ host: 'localhost', port: 6379 }],
      database: 0,
      tls: false,
      prefix: 'zyqueue',
    })
  })

  test.each([
    ['redis://', { hosts: [{ host: 'localhost', port: 6379 }] }],
    ['redis://10.0.0.1', { hosts: [{ host: '10.0.0.1', port: 6379 }] }],
    ['redis://h:7000/3', { hosts: [{ host: 'h', port: 7000 }], database: 3 }],
    ['redis://h/', { database: 0 }],
    ['redis://[::1]:7000', { hosts: [{ host: '::1', port: 7000 }] }],
    ['redis://:p%40ss@h', { username: undefined, password: 'p@ss' }],
    ['redis://me:p:a@ss@h', { username: 'me', password: 'p:a@ss' }],
    ['redis://h?prefix=app', { prefix: 'app' }],
    ['REDIS://h', { kind: 'server' }],
    ['rediss://h', { tls: true, ca: undefined }],
    ['redis://h?tls=true', { tls: true }],
    ['rediss://h?ca=certs/ca.pem', { tls: true, ca: '/base/certs/ca.pem' }],
    [
      'redis+sentinel://a,b:1/main/2?sentinelPassword=s&sentinelUsername=u',
      {
        kind: 'sentinel',
        hosts: [
          { host: 'a', port: 26_379 },
          { host: 'b', port: 1 },
        ],
        master: 'main',
        database: 2,
        sentinelUsername: 'u',
        sentinelPassword: 's',
      },
    ],
    [
      'redis+cluster://u:p@a:1,b:2',
      {
        kind: 'cluster',
        hosts: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
        username: 'u',
        password: 'p',
      },
    ],
  ])('%s', (connection, expected) => {
    expect(place(connection)).toMatchObject(expected)
  })

  test.each([
    '',
    'localhost',
    'http://h',
    'redis:h',
    'redis://a,b',
    'redis://h:0',
    'redis://h:65536',
    'redis://h:x',
    'redis://h/x',
    'redis://h/1/2',
    'redis://user@h',
    'redis://h?prefix=',
    'redis://h?prefix={a}',
    'redis://h?tls=maybe',
    'redis://h?nonsense=1',
    'redis://h?__proto__=1',
    'redis://h#fragment',
    'redis://h\n',
    'redis://%zz',
    'redis+sentinel://a',
    'redis+sentinel://a/',
    'redis+cluster://a/1',
  ])('%j is refused', (connection) => {
    expect(() => place(connection)).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_STRING' }))
  })

  test('nothing secret is in a location or an error', () => {
    const secret = fc.stringMatching(/^[a-zA-Z0-9]{6,12}$/).map((word) => `sEcReT${word}`)
    const around = fc.constantFrom(
      (word: string) => `redis://:${word}@h:1`,
      (word: string) => `redis://u:${word}@h:99999`,
      (word: string) => `redis://${word}@h`,
      (word: string) => `redis://u:${word}@[`,
      (word: string) => `redis://u:${word}@h/%zz`,
      (word: string) => `nonsense://u:${word}@h`,
      (word: string) => `redis://u:${word}%zz@h`,
      (word: string) => `redis+sentinel://u:${word}@a,b/m?sentinelPassword=${word}`,
      (word: string) => `redis+sentinel://u:${word}@a,b?sentinelPassword=${word}`,
      (word: string) => `redis://h?${word}=1`,
      (word: string) => `redis+cluster://u:${word}@a,b/${word}`,
    )
    fc.assert(
      fc.property(secret, around, (word, write) => {
        try {
          expect(locationOf(place(write(word)))).not.toContain(word)
        } catch (error) {
          expect(`${String(error)}${JSON.stringify(error)}${error instanceof Error ? error.stack : ''}`).not.toContain(
            word,
          )
          expect(error).toMatchObject({ code: 'ZYQ_CONNECTION_STRING' })
        }
      }),
    )
  })

  test('whatever the string, it is read or refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((rest) => `redis://${rest}`),
        ),
        (connection) => {
          try {
            place(connection)
          } catch (error) {
            expect(error).toMatchObject({ code: 'ZYQ_CONNECTION_STRING' })
          }
        },
      ),
    )
  })

  test.each([
    ['redis://u:p@h:1/2', 'h:1/2'],
    ['rediss://[::1]', '[::1]:6379 (TLS)'],
    ['redis+sentinel://a,b:1/main', 'sentinel main at a:26379,b:1'],
    ['redis+cluster://a,b:1', 'cluster a:6379,b:1'],
  ])('%s is at %s', (connection, location) => {
    expect(locationOf(place(connection))).toBe(location)
  })
})

describe('messages', () => {
  const message = fc.record({
    id: fc.stringMatching(/^[\x20-\x7e]{1,63}$/),
    headers: fc.dictionary(fc.string(), fc.string()),
    body: fc.uint8Array(),
    priority: fc.integer({ min: 0, max: 9 }),
    deliveries: fc.integer({ min: 0, max: 255 }),
    order: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
    storedAtMs: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
  })

  test('come back as they were', () => {
    fc.assert(
      fc.property(message, (sent) => {
        expect(isMessageId(sent.id)).toBe(true)
        const read = readMessage(encodeMessage(sent))
        if (read === undefined) throw new Error('not readable')
        const { headers, body, ...rest } = read
        const { headers: sentHeaders, body: sentBody, ...sentRest } = sent
        expect(rest).toEqual(sentRest)
        expect(Object.entries(headers)).toEqual(Object.entries(sentHeaders))
        expect(Object.getPrototypeOf(headers)).toBe(null)
        expect(Buffer.compare(body, sentBody)).toBe(0)
      }),
    )
  })

  test.each([
    ['JSON', Buffer.from('{"task":"resize","data":[1,2,3],"more":"than eighteen bytes"}')],
    ['a number', Buffer.from('12345678901234567890')],
    ['nothing', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(100)],
  ])('%s is none', (_, bytes) => {
    expect(readMessage(bytes)).toBeUndefined()
  })

  test('any bytes are read or are none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const read = readMessage(Buffer.from(bytes))
        expect(read === undefined || isMessageId(read.id)).toBe(true)
      }),
    )
  })
})

describe('ids that were seen', () => {
  const series = fc.constantFrom('0mabcdefgh0123456789', '0mabcdefgh9876543210')
  const ofSeries = fc
    .tuple(series, fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 32_750, max: 32_790 })))
    .map(([prefix, index]) => prefix + index.toString(36).padStart(8, '0'))
  const ids = fc.array(fc.oneof(ofSeries, fc.uuid(), fc.stringMatching(/^[\x20-\x7e]{1,63}$/)), { maxLength: 60 })

  test('each has a bit of its own, and the same each time', () => {
    const bits = new Map<string, string>()
    const owners = new Map<string, string>()
    fc.assert(
      fc.property(ids, (list) => {
        const runs = dedupeRuns(list)
        expect(runs.reduce((sum, { count }) => sum + count, 0)).toBe(list.length)
        let at = 0
        for (const { series, first, count } of runs)
          for (let bit = first; bit < first + count; bit++) {
            const id = list[at++] ?? ''
            const place = `${series}/${bit}`
            expect(bits.get(id) ?? place).toBe(place)
            expect(owners.get(place) ?? id).toBe(id)
            bits.set(id, place)
            owners.set(place, id)
          }
      }),
    )
  })

  test('a run has its bits set, and no others', () => {
    fc.assert(
      fc.property(ids, (list) => {
        for (const { first, count, bits } of dedupeRuns(list)) {
          const from = Math.floor(first / 8) * 8
          const set = Array.from(
            { length: bits.length * 8 },
            (_, bit) => ((bits[bit >> 3] ?? 0) & (128 >> (bit & 7))) !== 0,
          )
          expect(set).toEqual(set.map((_, bit) => from + bit >= first && from + bit < first + count))
        }
      }),
    )
  })

  test('a thousand jobs of a series are one run, or two', () => {
    const list = Array.from(
      { length: 1000 },
      (_, index) => `0mabcdefgh0123456789${(index + 32_000).toString(36).padStart(8, '0')}`,
    )
    expect(dedupeRuns(list).map(({ count }) => count)).toEqual([768, 232])
  })
})

describe('keys', () => {
  test('those of a queue are in one slot, those of two queues are never the same', () => {
    const keys = new Keys('p')
    const name = fc.string({ minLength: 1, unit: fc.constantFrom('a', '{', '}', '%', '7', 'D', ':', 'é') })
    fc.assert(
      fc.property(name, name, (one, other) => {
        const { ready, sorted, delayed, leases, order, waiters, dead, died, held, seen } = keys.of(one)
        const all = [ready, sorted, delayed, leases, order, waiters, dead, died, held('c'), seen('s')]
        expect(new Set(all.map(slotOf)).size).toBe(1)
        expect(keys.of(other).ready === ready).toBe(one === other)
      }),
    )
  })

  // https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/: CRC16("123456789") is 0x31C3.
  test.each([
    ['123456789', 0x31c3],
    ['{123456789}.more', 0x31c3],
    ['a{123456789}{b}', 0x31c3],
  ])('the slot of %s', (key, slot) => {
    expect(slotOf(key)).toBe(slot)
  })
})

describe('error codes', () => {
  test.each([
    ["OOM command not allowed when used memory > 'maxmemory'.", 'ZYQ_BROKER_FULL', false],
    ['READONLY You can not write against a read only replica.', 'ZYQ_CONNECTION_LOST', true],
    ['ERR Error running script (call to f_1): @user_script:3: -READONLY You can not', 'ZYQ_CONNECTION_LOST', true],
    ['WRONGPASS invalid username-password pair or user is disabled.', 'ZYQ_AUTH', false],
    ['NOAUTH Authentication required.', 'ZYQ_AUTH', false],
    ['ERR invalid password', 'ZYQ_AUTH', false],
    ['LOADING Redis is loading the dataset in memory', 'ZYQ_UNREACHABLE', true],
    ['CLUSTERDOWN The cluster is down', 'ZYQ_UNREACHABLE', true],
    ['BUSY Redis is busy running a script.', 'ZYQ_BROKER_BUSY', true],
    ['WRONGTYPE Operation against a key holding the wrong kind of value', 'ZYQ_STORAGE_FOREIGN', false],
    ['ERR anything', 'ZYQ_BROKER', false],
  ])('%s', (message, code, putOff) => {
    const error = new ServerError(message)
    expect(errorCode(error)).toBe(code)
    expect(isPutOff(error)).toBe(putOff)
  })

  test.each([
    [Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 'ZYQ_UNREACHABLE'],
    [Object.assign(new Error('x'), { code: 'ENOTFOUND' }), 'ZYQ_UNREACHABLE'],
    [Object.assign(new Error('x'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }), 'ZYQ_UNREACHABLE'],
    [Object.assign(new Error('x'), { code: 'toString' }), 'ZYQ_BROKER'],
    [new Error('anything'), 'ZYQ_BROKER'],
    [undefined, 'ZYQ_BROKER'],
  ])('%o', (error, code) => {
    expect(errorCode(error)).toBe(code)
  })
})

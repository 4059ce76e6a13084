import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { locationOf, parseDeployment } from '../src/options.ts'

const parse = (connection: string) => parseDeployment({ connection, baseDir: '/base' })

describe('connection strings', () => {
  test('the default is a server on this host', () => {
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
    expect(parse(connection)).toMatchObject(expected)
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
    expect(() => parse(connection)).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_STRING' }))
  })

  test.each([
    ['redis://:50%@h', /The password .* Write %25 for each % in it/],
    ['redis://app:p%zzs@h', /The password .* %25/],
    ['redis://a%b:p@h', /The user .* %25/],
    ['redis://u:p@h%', /The host .* %25/],
    ['redis+sentinel://a/m?sentinelPassword=50%', /The parameter sentinelPassword .* %25/],
    ['redis://:a%00b@h', /The password .* zero byte/],
    ['redis+sentinel://:p@a/m?sentinelPassword=a@b', /A parameter stands before the last @\. Write %40/],
    ['redis://h?ca=a@b', /A parameter stands before the last @\. Write %40/],
  ])('%j is refused with words of its own', (connection, words) => {
    expect(() => parse(connection)).toThrow(words)
  })

  test('all other characters in a password need no encoding', () => {
    const { password, hosts } = parse('redis://app:p@/:?#[] &=+"\'é@h:7000/3?prefix=app')
    expect(password).toBe('p@/:?#[] &=+"\'é')
    expect(hosts).toEqual([{ host: 'h', port: 7000 }])
  })

  test('locations and errors contain no secret', () => {
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
          expect(locationOf(parse(write(word)))).not.toContain(word)
        } catch (error) {
          expect(`${String(error)}${JSON.stringify(error)}${error instanceof Error ? error.stack : ''}`).not.toContain(
            word,
          )
          expect(error).toMatchObject({ code: 'ZYQ_CONNECTION_STRING' })
        }
      }),
    )
  })

  test('any string is parsed or refused with ZYQ_CONNECTION_STRING', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((rest) => `redis://${rest}`),
        ),
        (connection) => {
          try {
            parse(connection)
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
  ])('%s has the location %s', (connection, location) => {
    expect(locationOf(parse(connection))).toBe(location)
  })
})

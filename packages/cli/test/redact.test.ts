import fc from 'fast-check'
import { expect, test } from 'vitest'
import { redactConnection, redactText } from '../src/redact.ts'

test.each([
  ['redis://localhost:6379/0', 'redis://localhost:6379/0'],
  ['redis://user:pass@localhost:6379', 'redis://***@localhost:6379'],
  ['redis://:p@ss/w?rd@localhost', 'redis://***@localhost'],
  ['amqp://a:b@one,amqp://c:d@two', 'amqp://***@two'],
  ['rediss://h?password=x&db=1&auth_token=y', 'rediss://h?password=***&db=1&auth_token=***'],
  ['redis://h?password=x@y&db=1', 'redis://***@***&db=1'],
  ['user:pass@host:4730', '***@host:4730'],
  ['us/er:pa/s3cr3t@host', '***@host'],
  ['user:p@ss@host', '***@host'],
  ['Password=s3cr3t;Host=h', 'Password=***;Host=h'],
  ['Host=h; Access Key = "s3;cr3t" ;Port=1', 'Host=h; Access Key =***;Port=1'],
  ['Password=";?key=s";Host=h', 'Password=***;Host=h'],
  ['one:4730,two:4730', 'one:4730,two:4730'],
  ['sqlite:node_modules/@scope/queue.db', 'sqlite:node_modules/@scope/queue.db'],
])('%s is shown as %s', (connection, shown) => {
  expect(redactConnection(connection)).toBe(shown)
})

test.each([
  ['cannot reach redis://u:p@h:1 (at file:///a/@b/c.js)', 'cannot reach redis://***@h:1 (at file:///a/@b/c.js)'],
  ['see https://pages.example/@scope/name, sent by a@b.c', 'see https://pages.example/@scope/name, sent by a@b.c'],
  ['got https://user:p/w@host:8080/x', 'got https://***@host:8080/x'],
  ['with "user:p@ss@host:4730"?', 'with "***@host:4730"?'],
  ['-C=redis://u:p@h --other=u:p@h', '-C=redis://***@h --other=***@h'],
  [
    'of redis://[USER:PASSWORD@]HOST[:PORT][/DB] | rediss://…',
    'of redis://[USER:PASSWORD@]HOST[:PORT][/DB] | rediss://…',
  ],
  ['amqp[s]://[USER:PASSWORD@]HOST[,HOST…][?heartbeat=S]', 'amqp[s]://[USER:PASSWORD@]HOST[,HOST…][?heartbeat=S]'],
  ['of redis://[USER:PASSWORD@]u:p@h', 'of redis://***@h'],
  ['for Password=s3cr3t;Host=h', 'for Password=***;Host=h'],
  ['at f (/a/.pnpm/b@1/c.js:1:2)', 'at f (/a/.pnpm/b@1/c.js:1:2)'],
  [String.raw`at f (C:\a\.pnpm\b@1\c.js:1:2)`, String.raw`at f (C:\a\.pnpm\b@1\c.js:1:2)`],
])('in a text: %s', (text, shown) => {
  expect(redactText(text)).toBe(shown)
})

const name = fc.string({ unit: fc.constantFrom(...'abcxyz019._-/'.split('')), minLength: 1 })
const host = fc.string({ unit: fc.constantFrom(...'HOST.:,/'.split('')), minLength: 1 })
const password = fc.oneof(
  fc.string({ minLength: 3 }),
  fc.string({ unit: fc.constantFrom(...'s3:/@?&=;,#"\'- key'.split('')), minLength: 3 }),
)
const scheme = fc.constantFrom('', 'redis://', 'amqp+x://', 'https://')

/** Whether the output contains three characters of the secret that other secrets do not produce as well. */
function leaks(show: (secret: string) => string, secret: string): boolean {
  const shown = show(secret)
  const around = show('***') + show('***@***')
  const parts = Array.from({ length: secret.length - 2 }, (_, at) => secret.slice(at, at + 3))
  return parts.some((part) => shown.includes(part) && !around.includes(part))
}

test('hides every part of a password before a host, whatever characters it has', () => {
  fc.assert(
    fc.property(scheme, name, password, host, (start, user, secret, end) => {
      expect(leaks((text) => redactConnection(`${start}${user}:${text}@${end}`), secret)).toBe(false)
    }),
    { numRuns: 2_000 },
  )
})

test('hides every part of a password in a text', () => {
  fc.assert(
    fc.property(scheme, name, password, host, (start, user, secret, end) => {
      const word = secret.replaceAll(/\s/g, '_')
      const show = (text: string): string => redactText(`cannot reach ${start}${user}:${text}@${end}: it said no`)
      expect(leaks(show, word)).toBe(false)
    }),
    { numRuns: 2_000 },
  )
})

test('hides every part of a password in parameters and lists', () => {
  fc.assert(
    fc.property(password, host, fc.boolean(), (secret, end, quoted) => {
      const value = secret.replaceAll('&', '_')
      expect(leaks((text) => redactConnection(`redis://h?a=b&password=${text}&c=d`), value)).toBe(false)
      const item = quoted ? `"${secret.replaceAll('"', '_')}"` : secret.replaceAll(/[;"']/g, '_')
      expect(leaks((text) => redactConnection(`Password=${text};Host=${end}`), item)).toBe(false)
      expect(leaks((text) => redactConnection(`Host=${end};Pwd=${text}`), item)).toBe(false)
    }),
    { numRuns: 2_000 },
  )
})

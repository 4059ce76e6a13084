import { expect, test } from 'vitest'
import { parseAddresses } from '../src/options.ts'

test.each([
  [undefined, ['localhost:4730']],
  ['host', ['host:4730']],
  ['127.0.0.1:4731', ['127.0.0.1:4731']],
  ['a:1,b:2, c', ['a:1', 'b:2', 'c:4730']],
  ['gearman://a:1,b', ['a:1', 'b:4730']],
  ['gearman://a:1/', ['a:1']],
  ['gearman:a:1', ['a:1']],
  ['a:1,a:1', ['a:1']],
  ['[::1]:4730,[fe80::1]', ['::1:4730', 'fe80::1:4730']],
])('reads the connection %s', (connection, expected) => {
  expect(parseAddresses(connection).map(({ host, port }) => `${host}:${port}`)).toEqual(expected)
})

test.each(['', ' ', 'a:0', 'a:99999', 'a:b', 'gearman://user:s3cret@a', 'http://a', 'a,,b', 'a:1/path'])(
  'refuses the connection %j without showing it',
  (connection) => {
    expect(() => parseAddresses(connection)).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_STRING' }))
    expect(() => parseAddresses(connection)).not.toThrow(/s3cret/)
  },
)

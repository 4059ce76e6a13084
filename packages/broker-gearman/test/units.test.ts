import fc from 'fast-check'
import { expect, test } from 'vitest'
import { workerOf } from '../src/admin/admin.ts'
import { clientIdOf, clientInfoOf } from '../src/client-id.ts'
import { delayedFunction, purposeOf, slotOf } from '../src/functions.ts'
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
])('the connection %s is read', (connection, expected) => {
  expect(parseAddresses(connection).map(({ host, port }) => `${host}:${port}`)).toEqual(expected)
})

test.each(['', ' ', 'a:0', 'a:99999', 'a:b', 'gearman://user:s3cret@a', 'http://a', 'a,,b', 'a:1/path'])(
  'the connection %j is refused, and not shown',
  (connection) => {
    expect(() => parseAddresses(connection)).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_STRING' }))
    expect(() => parseAddresses(connection)).not.toThrow(/s3cret/)
  },
)

test('a function of delayed jobs tells its queue and its time, whatever the queue is named', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'grapheme' }), fc.nat(), (queue, atMs) => {
      expect(purposeOf(delayedFunction(queue, atMs))).toEqual({ kind: 'delayed', queue, atMs })
    }),
  )
  expect(purposeOf('resize')).toEqual({ kind: 'ready', queue: 'resize' })
  expect(purposeOf('zyq:dead:5:a')).toEqual({ kind: 'dead', queue: '5:a' })
  expect(purposeOf('zyq:something new')).toEqual({ kind: 'other' })
})

test('a line of a server tells its worker and the queues, whatever characters they have', () => {
  expect(workerOf('39 127.0.0.1 tasks.1@host:4711 : a\u2028b zyq:dead:a', { name: 's:4730' })).toEqual({
    id: 's:4730/39',
    client: { name: 'tasks.1', host: 'host', pid: 4711 },
    queues: ['a\u2028b'],
    address: '127.0.0.1',
    fileDescriptor: 39,
  })
  expect(workerOf('no line of a worker', { name: 's:4730' })).toBe(undefined)
})

const tenYearsMs = 10 * 365 * 86_400_000

test('a delayed job is never ready early, is late by a quarter of a second at most, and moves a few times only', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 41 }), fc.integer({ min: 0, max: tenYearsMs }), (startMs, delayMs) => {
      const dueMs = startMs + delayMs
      let nowMs = startMs
      for (let moves = 0; ; moves++) {
        expect(moves).toBeLessThan(8)
        const atMs = slotOf(dueMs, nowMs)
        expect(atMs).toBeGreaterThanOrEqual(nowMs)
        nowMs = atMs
        if (nowMs >= dueMs) break
      }
      expect(nowMs - dueMs).toBeLessThan(250)
    }),
    { numRuns: 2000 },
  )
})

test('however many jobs are delayed, they are in a bounded number of slots', () => {
  const nowMs = 1_800_000_000_123
  const slots = new Set<number>()
  for (let delayMs = 1; delayMs < tenYearsMs; delayMs = Math.ceil(delayMs * 1.0005))
    slots.add(slotOf(nowMs + delayMs, nowMs))
  expect(slots.size).toBeLessThan(33 * 8)
})

test('a client id says who a worker is, as far as there is room', () => {
  const client = { name: 'tasks.ts.1', host: 'web-1', pid: 4711 }
  expect(clientIdOf(client)).toBe('tasks.ts.1@web-1:4711')
  expect(clientInfoOf(clientIdOf(client), '10.0.0.1')).toEqual(client)
  const long = clientIdOf({ ...client, name: 'ü'.repeat(200) })
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(127)
  expect(clientInfoOf(long, '')).toMatchObject({ host: 'web-1', pid: 4711 })
  expect(clientInfoOf('-', '10.0.0.1')).toEqual({ name: '', host: '10.0.0.1', pid: 0 })
  expect(clientInfoOf('a stranger', '10.0.0.1')).toEqual({ name: 'a stranger', host: '10.0.0.1', pid: 0 })
})

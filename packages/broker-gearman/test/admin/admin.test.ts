import { expect, test } from 'vitest'
import { workerOf } from '../../src/admin/admin.ts'

test('reads a worker and its queues from a line of a server, whatever characters they have', () => {
  expect(workerOf('39 127.0.0.1 tasks.1@host:4711 : a\u2028b zyq:dead:a', { name: 's:4730' })).toEqual({
    id: 's:4730/39',
    client: { name: 'tasks.1', host: 'host', pid: 4711 },
    queues: ['a\u2028b'],
    details: { ip: '127.0.0.1', file_descriptor: 39 },
  })
  expect(workerOf('not a worker', { name: 's:4730' })).toBe(undefined)
})

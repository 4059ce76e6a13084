import { expect, test } from 'vitest'
import { clientIdOf, clientInfoOf } from '../src/client-id.ts'

test('a client id holds the name, host and process of a worker, cut to the length that gearmand keeps', () => {
  const client = { name: 'tasks.ts.1', host: 'web-1', pid: 4711 }
  expect(clientIdOf(client)).toBe('tasks.ts.1@web-1:4711')
  expect(clientInfoOf(clientIdOf(client), '10.0.0.1')).toEqual(client)
  const long = clientIdOf({ ...client, name: 'ü'.repeat(200) })
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(127)
  expect(clientInfoOf(long, '')).toMatchObject({ host: 'web-1', pid: 4711 })
  expect(clientInfoOf('-', '10.0.0.1')).toEqual({ name: '', host: '10.0.0.1', pid: 0 })
  expect(clientInfoOf('another program', '10.0.0.1')).toEqual({ name: 'another program', host: '10.0.0.1', pid: 0 })
})

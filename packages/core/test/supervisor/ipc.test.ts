import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PROTOCOL, toSupervisorSchema, toWorkerSchema } from '../../src/supervisor/ipc.ts'

const CONSUMER = {
  address: { baseDir: '/x' },
  consumerId: 'c',
  leaseMs: 1,
  renewable: true,
  broker: 'b',
  queues: ['q'],
}
const FROM_WORKER = [
  { type: 'ready', tasks: ['t'], hardTimeouts: false },
  { type: 'consumers', consumers: [CONSUMER] },
  { type: 'heartbeat', at: 4, done: 1, jobs: 1, dead: 0, inHand: 2, idleMs: 3 },
  { type: 'retiring', reason: 'r', done: 1 },
  { type: 'fatal', code: 'c', message: 'm', detail: 'd' },
]
const TO_WORKER = [
  {
    type: 'start',
    protocol: PROTOCOL,
    taskFile: '/t',
    resolveFrom: ['/x'],
    baseDir: '/x',
    name: 't.1',
    afterDeath: true,
    waitsForBroker: true,
    concurrency: 3,
    log: {},
  },
  { type: 'drain' },
  { type: 'stop' },
]

test.each([
  ['from worker processes', toSupervisorSchema, FROM_WORKER],
  ['to worker processes', toWorkerSchema, TO_WORKER],
])('messages %s are read as JSON carries them, and nothing else is', (_, schema, messages) => {
  for (const message of messages) {
    expect(schema.parse(JSON.parse(JSON.stringify(message)))).toEqual(message)
    for (const key of Object.keys(message)) {
      if (key === 'detail' || key === 'concurrency') continue
      expect(schema.safeParse({ ...message, [key]: undefined }).success, `${message.type} without ${key}`).toBe(false)
      expect(schema.safeParse({ ...message, [key]: Symbol('junk') }).success).toBe(false)
    }
  }
  for (const junk of [undefined, null, 0, '', [], {}, { type: 'x' }, { type: '__proto__' }]) {
    expect(schema.safeParse(junk).success).toBe(false)
  }
  fc.assert(fc.property(fc.anything(), (junk) => !schema.safeParse(junk).success))
})

test('unknown fields are dropped', () => {
  const message = toSupervisorSchema.parse(
    JSON.parse(`{"type":"retiring","reason":"r","done":1,"__proto__":{"x":1},"y":2}`),
  )
  expect(message).toEqual({ type: 'retiring', reason: 'r', done: 1 })
  expect(Object.getPrototypeOf(message)).toBe(Object.prototype)
})

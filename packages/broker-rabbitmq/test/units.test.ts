import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { locationOf, parseAddress } from '../src/connection/address.ts'
import { levelsOf, ttlOf } from '../src/publish/delay-levels.ts'
import { errorCode } from '../src/errors.ts'
import { propertiesOf, propertiesOfCopy, receivedFrom } from '../src/message.ts'
import { mismatch } from '../src/topology.ts'
import { findingsOfVersion, forgetsNewQueues } from '../src/connection/versions.ts'

describe('connection strings', () => {
  test('say hosts, credentials, virtual host and parameters', () => {
    expect(parseAddress('amqps://u%40x:p%2F%3A@a,b:5673,[::1]:99/%2Fv?queueType=classic&heartbeat=30')).toMatchObject({
      tls: true,
      hosts: [
        { hostname: 'a', port: 5671 },
        { hostname: 'b', port: 5673 },
        { hostname: '::1', port: 99 },
      ],
      username: 'u@x',
      password: 'p/:',
      vhost: '/v',
      queueType: 'classic',
      heartbeat: 30,
    })
    expect(parseAddress()).toMatchObject({ username: 'guest', password: 'guest', vhost: '/', heartbeat: 120 })
    expect(parseAddress('amqp://')).toMatchObject({ hosts: [{ hostname: 'localhost', port: 5672 }] })
  })

  test('that are none are refused without their password', () => {
    for (const connection of [
      'http://s3cret@host',
      'amqp://u:s3cret@a b',
      'amqp://u:s3cret@host:0',
      'amqp://u:s3cret@host?speed=high',
      'amqp://u:s3cret@host?heartbeat=0',
      'amqp://u:s3cret@host?management=ftp://x',
      'amqp://u:%E0%A4s3cret@host',
    ]) {
      expect(() => parseAddress(connection)).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_STRING' }))
      expect(() => parseAddress(connection)).not.toThrow(/s3cret/)
    }
  })

  test('any user and password come through, and are in no location', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 20 }), fc.string({ unit: 'grapheme' }), (password, user) => {
        const address = parseAddress(`amqp://${encodeURIComponent(user)}:${encodeURIComponent(password)}@h1,h2/v`)
        expect(address).toMatchObject({ username: user, password })
        expect(locationOf(address)).toBe('h1:5672,h2:5672/v')
      }),
    )
  })
})

describe('the delay levels', () => {
  const anyDelay = fc.integer({ min: 1, max: 9 * 86_400_000 })

  test('never shorten a delay, and lengthen it by less than 50 ms', () => {
    fc.assert(
      fc.property(anyDelay, (delayMs) => {
        const held = levelsOf(delayMs).reduce((sum, level) => sum + ttlOf(level), 0)
        expect(held).toBeGreaterThanOrEqual(delayMs)
        expect(held).toBeLessThan(delayMs + 50)
      }),
    )
  })

  test('go down, each level once, with TTLs below 2³² ms', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 * 365 * 86_400_000 }), (delayMs) => {
        const levels = levelsOf(delayMs)
        expect(levels).toEqual([...new Set(levels)].toSorted((a, b) => b - a))
        for (const level of levels) expect(ttlOf(level)).toBeLessThan(2 ** 32)
      }),
    )
  })
})

describe('messages', () => {
  const anyKey = fc.oneof(
    fc.stringMatching(/^[a-z-]{1,20}$/),
    fc.constantFrom('__proto__', 'constructor', 'x-death', 'x-delivery-count', 'zyq-task', 'correlation-id', 'cc'),
  )
  const anyHeaders = fc
    .array(fc.tuple(anyKey, fc.string({ unit: 'grapheme', minLength: 1, maxLength: 50 })))
    .map((entries) => withoutPrototype(entries.filter(([key, value]) => key !== 'zyq-task' || value !== 'q')))
  const fields = { deliveryTag: 1, redelivered: false, exchange: '', routingKey: 'q' }

  test('headers come through, whatever their names, a second copy too', () => {
    fc.assert(
      fc.property(anyHeaders, fc.nat({ max: 9 }), (headers, priority) => {
        const first = propertiesOf({ queue: 'q', id: 'id-1', headers, priority })
        const message = { content: Buffer.alloc(0), fields, properties: asReceived(first) }
        const job = receivedFrom('q', message)
        expect(job).toMatchObject({ id: 'id-1', priority, deliveryCount: 0, undecodable: undefined })
        expect(new Map(Object.entries(job.headers))).toEqual(new Map(Object.entries(headers)))
        const again = propertiesOfCopy('q', { id: job.id, deliveryCount: 3 }, message, {})
        const second = receivedFrom('q', { ...message, properties: asReceived(again) })
        expect(new Map(Object.entries(second.headers))).toEqual(new Map(Object.entries(headers)))
        expect(second.deliveryCount).toBe(3)
      }),
    )
  })

  test('a delivery is counted by the server, and on top of what earlier copies counted', () => {
    const message = (headers: Record<string, unknown>, redelivered = true) => ({
      content: Buffer.alloc(0),
      fields: { ...fields, redelivered },
      properties: asReceived({ headers }),
    })
    expect(receivedFrom('q', message({ 'x-delivery-count': 2 })).deliveryCount).toBe(2)
    expect(receivedFrom('q', message({ 'x-delivery-count': 1, 'x-acquired-count': 2 })).deliveryCount).toBe(2)
    expect(receivedFrom('q', message({ 'x-delivery-count': 1, 'zyq-amqp-deliveries': 2 })).deliveryCount).toBe(3)
    expect(receivedFrom('q', message({ 'zyq-amqp-deliveries': 2 })).deliveryCount).toBe(3)
    expect(receivedFrom('q', message({}, false)).deliveryCount).toBe(0)
  })
})

test('a message of a newer format is not decoded, and its copies keep the format', () => {
  const properties = asReceived({ headers: { 'zyq-amqp-format': 7 }, messageId: 'id-1' })
  const fields = { deliveryTag: 1, redelivered: false, exchange: '', routingKey: 'q' }
  const message = { content: Buffer.alloc(0), fields, properties }
  const job = receivedFrom('q', message)
  expect(job.undecodable).toBe(
    'it has format 7 of the RabbitMQ broker, and this version reads 1: upgrade, then requeue it',
  )
  expect(propertiesOfCopy('q', job, message, {}).headers).toMatchObject({ 'zyq-amqp-format': 7 })
})

describe('errors', () => {
  test('the server’s reply codes have codes of ours', () => {
    for (const [code, expected] of [
      [403, 'ZYQ_AUTH'],
      [404, 'ZYQ_QUEUE_NOT_FOUND'],
      [405, 'ZYQ_BROKER_BUSY'],
      [406, 'ZYQ_TOPOLOGY'],
      [320, 'ZYQ_CONNECTION_LOST'],
      ['ECONNREFUSED', 'ZYQ_UNREACHABLE'],
      [541, 'ZYQ_BROKER'],
    ] as const) {
      expect(errorCode(Object.assign(new Error('x'), { code }))).toBe(expected)
    }
  })

  test('a declaration that differs is told in words, in the forms of old and new servers', () => {
    for (const text of [
      `PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'a 'b'' in vhost '/': received '5' but current is '7'"`,
      `PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'a 'b'' in vhost '/': received the value '5' of type 'byte' but current is the value '7' of type 'long'"`,
    ]) {
      expect(mismatch(Object.assign(new Error(text), { code: 406 }))).toMatchObject({
        code: 'ZYQ_TOPOLOGY',
        message: `The queue "a 'b'" exists already and differs in x-max-length: asked for 5, it has 7`,
      })
    }
  })
})

function withoutPrototype(entries: readonly (readonly [string, string])[]): Record<string, string> {
  const headers: Record<string, string> = Object.create(null)
  for (const [key, value] of entries) headers[key] = value
  return headers
}

/** What amqplib makes of properties that were sent: every field is there, and tables have a prototype. */
function asReceived(sent: object) {
  const headers: Record<string, unknown> = {}
  const table: unknown = Reflect.get(sent, 'headers')
  for (const [key, value] of Object.entries(typeof table === 'object' && table !== null ? table : {}))
    headers[key] = value
  return {
    contentType: undefined,
    contentEncoding: undefined,
    deliveryMode: 2,
    priority: undefined,
    correlationId: undefined,
    replyTo: undefined,
    expiration: undefined,
    messageId: undefined,
    timestamp: undefined,
    type: undefined,
    userId: undefined,
    appId: undefined,
    clusterId: undefined,
    ...sent,
    headers,
  }
}

describe('what has to be known of a version', () => {
  const told = (version: string): readonly string[] =>
    findingsOfVersion(version).map(({ level, message }) => {
      const what = /too old|consumer_timeout/.exec(message)?.[0]
      return `${level}: ${what}`
    })

  test.each([
    ['3.9.29', ['problem: too old']],
    ['3.10.8', ['warning: consumer_timeout']],
    ['3.12.14', []],
    ['4.1', []],
  ])('%s', (version, findings) => {
    expect(told(version)).toEqual(findings)
  })

  test.each([
    ['3.10.8', true],
    ['3.13.5', true],
    ['3.13.6', false],
    ['3.13.10+1.g0', false],
    ['4.0.0-rc.1', false],
    ['4.1', false],
  ])('%s forgets new queues: %s', (version, forgets) => {
    expect(forgetsNewQueues(version)).toBe(forgets)
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertiesOf, propertiesOfCopy, receivedFrom } from '../src/message.ts'

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

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { describeUnreadable, encodeMessage, isMessageId, readMessage } from '../src/message.ts'

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

  test('are decoded unchanged', () => {
    fc.assert(
      fc.property(message, (sent) => {
        expect(isMessageId(sent.id)).toBe(true)
        const read = readMessage(encodeMessage(sent))
        if (read === undefined) throw new Error('cannot be decoded')
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
  ])('%s is not a message', (_, bytes) => {
    expect(readMessage(bytes)).toBeUndefined()
  })

  test('of a newer format are not decoded, and the reason names both formats', () => {
    fc.assert(
      fc.property(message, fc.integer({ min: 1, max: 3 }), (sent, format) => {
        const encoded = encodeMessage(sent)
        encoded.writeUInt8(encoded.readUInt8(14) + (format << 6), 14)
        expect(readMessage(encoded)).toBeUndefined()
        expect(describeUnreadable(encoded)).toContain(`has format ${format}, and this version`)
      }),
    )
    expect(describeUnreadable(Buffer.from('{"task":"resize","more":"text"}'))).toContain('another program')
  })

  test('any bytes are decoded or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const read = readMessage(Buffer.from(bytes))
        expect(read === undefined || isMessageId(read.id)).toBe(true)
      }),
    )
  })
})

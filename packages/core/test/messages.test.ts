import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { BrokerError, CodecError, ConfigError, JobError, messageOf, ZyQueueError } from '../src/errors.ts'
import {
  countHeader,
  decodeData,
  emptyHeaders,
  encodeData,
  errorHeader,
  NO_HEADERS,
  withHeaders,
} from '../src/messages/envelope.ts'
import { createIdSeries, createJobIds } from '../src/messages/job-id.ts'
import { checkName } from '../src/tasks/names.ts'

describe('names', () => {
  test.each(['resize', 'a', 'mail.out/2', 'größe', '💡', 'x'.repeat(200)])('%s is one', (name) => {
    expect(() => checkName('task', name)).not.toThrow()
  })

  test.each(['', ' ', 'a b', 'a\n', 'a\u0000', 'a\u00a0b', '\u200b', '\ud800', 'x'.repeat(201), 'é'.repeat(101)])(
    '%j is none',
    (name) => {
      expect(() => checkName('task', name)).toThrow(expect.objectContaining({ code: 'ZYQ_TASK_NAME' }))
      expect(() => checkName('queue', name)).toThrow(expect.objectContaining({ code: 'ZYQ_QUEUE_NAME' }))
    },
  )
})

describe('job ids', () => {
  test('have 28 characters that every broker can carry, and sort by index', () => {
    const idAt = createIdSeries()
    fc.assert(
      fc.property(fc.nat(36 ** 8 - 2), (index) => {
        expect(idAt(index)).toMatch(/^[0-9a-z]{28}$/)
        expect(idAt(index) < idAt(index + 1)).toBe(true)
        expect(idAt(index)).toBe(idAt(index))
      }),
    )
  })

  test('are unique within and across series', () => {
    const series = Array.from({ length: 200 }, createIdSeries)
    const next = createJobIds()
    const ids = [...series.flatMap((idAt) => [idAt(0), idAt(1)]), ...Array.from({ length: 1000 }, next)]
    expect(new Set(ids).size).toBe(ids.length)
  })
})

describe('data', () => {
  test('survives encoding as it survives JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(decodeData(encodeData(value))).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  test('is decoded from a part of a larger buffer', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(10), (value, offset) => {
        const body = encodeData(value)
        const larger = new Uint8Array(body.byteLength + offset + 3).fill(0x20)
        larger.set(body, offset)
        expect(decodeData(larger.subarray(offset, offset + body.byteLength))).toEqual(decodeData(body))
      }),
    )
  })

  test('undefined becomes null', () => {
    expect(decodeData(encodeData(undefined))).toBe(null)
  })

  test('that is not JSON is refused in both directions', () => {
    const cyclic: { self?: unknown } = {}
    cyclic.self = cyclic
    for (const data of [cyclic, 1n, { toJSON: () => 1n }]) {
      expect(() => encodeData(data)).toThrow(expect.objectContaining({ code: 'ZYQ_ENCODE' }))
    }
    for (const body of [[], [0xff], [0xc3, 0x28], [0x22, 0xed, 0xa0, 0x80, 0x22], [...Buffer.from('{')]]) {
      expect(() => decodeData(Uint8Array.from(body))).toThrow(expect.objectContaining({ code: 'ZYQ_DECODE' }))
    }
  })

  test('any bytes decode or are refused with ZYQ_DECODE', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (body) => {
        try {
          decodeData(body)
        } catch (error) {
          expect(error).toBeInstanceOf(CodecError)
        }
      }),
    )
  })

  test('with a key such as __proto__ has no side effect', () => {
    const data = decodeData(Buffer.from('{"__proto__":{"admin":true}}'))
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype)
    expect(Reflect.get(Object(data), 'admin')).toBe(undefined)
  })
})

describe('headers', () => {
  test('with counts', () => {
    const withCount = (text: string) => withHeaders(NO_HEADERS, { 'zyq-attempts': text })
    fc.assert(
      fc.property(fc.nat(999_999_999), (count) => countHeader(withCount(String(count)), 'zyq-attempts', 7) === count),
    )
    expect(countHeader(NO_HEADERS, 'zyq-attempts', 7)).toBe(7)
    for (const text of ['', '-1', '1.5', '1e3', ' 1', '0x1', '1234567890', 'NaN']) {
      expect(() => countHeader(withCount(text), 'zyq-attempts', 0)).toThrow(
        expect.objectContaining({ code: 'ZYQ_DECODE' }),
      )
    }
  })

  test('are copied into an object without a prototype', () => {
    const before = Object.assign(emptyHeaders(), { a: '1', b: '2' })
    const after = withHeaders(before, { b: undefined, c: '3' })
    expect({ ...before }).toEqual({ a: '1', b: '2' })
    expect({ ...after }).toEqual({ a: '1', c: '3' })
    expect(Object.getPrototypeOf(after)).toBe(null)
    expect('toString' in after).toBe(false)
  })

  test('with an error are one short line, for any thrown value', () => {
    expect(errorHeader(new TypeError('a\n  b'))).toBe('TypeError: a b')
    const cut = errorHeader(`x${'💡'.repeat(2000)}`)
    expect(Buffer.from(cut).toString()).toBe(cut)
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true }), (thrown) => {
        const text = errorHeader(thrown)
        expect(text).not.toContain('\n')
        expect(text.length).toBeLessThanOrEqual(1010)
      }),
    )
  })
})

describe('errors', () => {
  test('have a kind that works between two copies of this package', async () => {
    vi.resetModules()
    const copy = await import('../src/errors.ts')
    const foreign = new copy.BrokerError('ZYQ_UNREACHABLE', 'away')
    expect(copy.BrokerError).not.toBe(BrokerError)
    expect(foreign).toBeInstanceOf(BrokerError)
    expect(foreign).toBeInstanceOf(ZyQueueError)
    expect(foreign).not.toBeInstanceOf(ConfigError)
    expect(new JobError('ZYQ_JOB_FAILED', 'x')).not.toBeInstanceOf(CodecError)
    expect([foreign.retryable, new BrokerError('ZYQ_AUTH', 'no').retryable]).toEqual([true, false])
  })

  test('have a message, for any thrown value', () => {
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()
    const odd = Object.assign(new Error(), { message: 42 })
    for (const thrown of [Object.create(null), revoked.proxy, { toString: 1 }]) {
      expect(messageOf(thrown)).toBe('a value without a message')
    }
    expect([messageOf(odd), messageOf(undefined), messageOf(Symbol('s')), messageOf(new RangeError())]).toEqual([
      '42',
      'undefined',
      'Symbol(s)',
      'RangeError',
    ])
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hashSlot } from '../src/connection/hash-slot.ts'
import { Keys } from '../src/keys.ts'

describe('keys', () => {
  test('the keys of a queue are in one slot and differ from the keys of other queues', () => {
    const keys = new Keys('p')
    const name = fc.string({ minLength: 1, unit: fc.constantFrom('a', '{', '}', '%', '7', 'D', ':', 'é') })
    fc.assert(
      fc.property(name, name, (one, other) => {
        const { ready, sorted, delayed, leases, order, waiters, dead, died, held, dedupe } = keys.of(one)
        const all = [ready, sorted, delayed, leases, order, waiters, dead, died, held('c'), dedupe('s')]
        expect(new Set(all.map(hashSlot)).size).toBe(1)
        expect(keys.of(other).ready === ready).toBe(one === other)
      }),
    )
  })

  // https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/: CRC16("123456789") is 0x31C3.
  test.each([
    ['123456789', 0x31c3],
    ['{123456789}.more', 0x31c3],
    ['a{123456789}{b}', 0x31c3],
  ])('the slot of %s', (key, slot) => {
    expect(hashSlot(key)).toBe(slot)
  })
})

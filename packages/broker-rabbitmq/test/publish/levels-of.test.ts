import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { levelsOf, ttlOf } from '../../src/publish/delay-levels.ts'

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

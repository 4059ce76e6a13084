import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dedupeRuns } from '../../src/publish/dedupe.ts'

describe('published ids', () => {
  const series = fc.constantFrom('0mabcdefgh0123456789', '0mabcdefgh9876543210')
  const ofSeries = fc
    .tuple(series, fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 32_750, max: 32_790 })))
    .map(([prefix, index]) => prefix + index.toString(36).padStart(8, '0'))
  const ids = fc.array(fc.oneof(ofSeries, fc.uuid(), fc.stringMatching(/^[\x20-\x7e]{1,63}$/)), { maxLength: 60 })

  test('each id always has the same bit, and no other id has it', () => {
    const bits = new Map<string, string>()
    const owners = new Map<string, string>()
    fc.assert(
      fc.property(ids, (list) => {
        const runs = dedupeRuns(list)
        expect(runs.reduce((sum, { count }) => sum + count, 0)).toBe(list.length)
        let at = 0
        for (const { series, first, count } of runs)
          for (let bit = first; bit < first + count; bit++) {
            const id = list[at++] ?? ''
            const place = `${series}/${bit}`
            expect(bits.get(id) ?? place).toBe(place)
            expect(owners.get(place) ?? id).toBe(id)
            bits.set(id, place)
            owners.set(place, id)
          }
      }),
    )
  })

  test('a run sets exactly its bits', () => {
    fc.assert(
      fc.property(ids, (list) => {
        for (const { first, count, bits } of dedupeRuns(list)) {
          const from = Math.floor(first / 8) * 8
          const set = Array.from(
            { length: bits.length * 8 },
            (_, bit) => ((bits[bit >> 3] ?? 0) & (128 >> (bit & 7))) !== 0,
          )
          expect(set).toEqual(set.map((_, bit) => from + bit >= first && from + bit < first + count))
        }
      }),
    )
  })

  test('a thousand ids of a series are at most two runs', () => {
    const list = Array.from(
      { length: 1000 },
      (_, index) => `0mabcdefgh0123456789${(index + 32_000).toString(36).padStart(8, '0')}`,
    )
    expect(dedupeRuns(list).map(({ count }) => count)).toEqual([768, 232])
  })
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { delayedFunction, purposeOf, slotOf } from '../src/functions.ts'

test('reads the queue and the time from the name of a function of delayed jobs', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'grapheme' }), fc.nat(), (queue, atMs) => {
      expect(purposeOf(delayedFunction(queue, atMs))).toEqual({ kind: 'delayed', queue, atMs })
    }),
  )
  expect(purposeOf('resize')).toEqual({ kind: 'ready', queue: 'resize' })
  expect(purposeOf('zyq:dead:5:a')).toEqual({ kind: 'dead', queue: '5:a' })
  expect(purposeOf('zyq:something new')).toEqual({ kind: 'other' })
})

const tenYearsMs = 10 * 365 * 86_400_000

test('a delayed job is never early, at most a quarter of a second late, and moves only a few times', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 41 }), fc.integer({ min: 0, max: tenYearsMs }), (startMs, delayMs) => {
      const dueMs = startMs + delayMs
      let nowMs = startMs
      for (let moves = 0; ; moves++) {
        expect(moves).toBeLessThan(8)
        const atMs = slotOf(dueMs, nowMs)
        expect(atMs).toBeGreaterThanOrEqual(nowMs)
        nowMs = atMs
        if (nowMs >= dueMs) break
      }
      expect(nowMs - dueMs).toBeLessThan(250)
    }),
    { numRuns: 2000 },
  )
})

test('the number of slots is bounded, however many jobs are delayed', () => {
  const nowMs = 1_800_000_000_123
  const slots = new Set<number>()
  for (let delayMs = 1; delayMs < tenYearsMs; delayMs = Math.ceil(delayMs * 1.0005))
    slots.add(slotOf(nowMs + delayMs, nowMs))
  expect(slots.size).toBeLessThan(33 * 8)
})

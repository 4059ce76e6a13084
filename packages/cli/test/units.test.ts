import fc from 'fast-check'
import { expect, test } from 'vitest'
import { describeAge, parseDuration, parseSize } from '../src/units.ts'

test.each([
  ['500ms', 500],
  ['30s', 30_000],
  ['1.5m', 90_000],
  ['2h', 7_200_000],
  ['1d', 86_400_000],
  ['0s', 0],
])('%s', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each([
  [-1, '0s'],
  [999, '0s'],
  [59_999, '59s'],
  [60_000, '1m'],
  [7_199_999, '1h'],
  [400 * 86_400_000, '400d'],
])('the age %i is %s', (ms, text) => {
  expect(describeAge(ms)).toBe(text)
})

test.each([
  ['1B', 1],
  ['512MB', 536_870_912],
  ['512mb', 536_870_912],
  ['1.5GiB', 1_610_612_736],
])('%s', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes)
})

test.each(['', '30', 's', '-1s', '1e3s', '3x', '30 s s', 'constructors', '9999999999999999d'])(
  '%j is not a duration',
  (text) => {
    expect(() => parseDuration(text)).toThrow()
  },
)

test('every parsed duration is a whole number of ms', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      fc.constantFrom('ms', 's', 'm', 'h', 'd'),
      (amount, unit) => {
        expect(Number.isSafeInteger(parseDuration(`${amount.toFixed(3)}${unit}`))).toBe(true)
      },
    ),
  )
})

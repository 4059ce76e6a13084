import { expect, test } from 'vitest'
import { BrokerError } from '../../src/errors.ts'
import { Failures } from '../../src/worker/failures.ts'

const FAULT = new BrokerError('ZYQ_BROKER', 'no right to receive')

function add(failures: Failures, error: BrokerError, times: number): number[] {
  return Array.from({ length: times }, (_, index) => index + 1).filter(() => failures.add(error))
}

test('failures are logged at growing intervals, also if the consumer receives between them', () => {
  const failures = new Failures(60_000)
  expect(add(failures, FAULT, 100)).toEqual([1, 4, 16, 64])
  expect(failures.isLasting).toBe(false)
  failures.clear()
  expect(failures.streak).toBe(0)
  expect(add(failures, FAULT, 5)).toEqual([])
  expect({ count: failures.count, streak: failures.streak }).toEqual({ count: 105, streak: 5 })
})

test('the first failure is logged again after `stallMs` without failures', () => {
  const failures = new Failures(0)
  expect(add(failures, FAULT, 4)).toEqual([1, 4])
  failures.clear()
  expect(add(failures, FAULT, 4)).toEqual([1, 4])
})

test('a lasting failure is logged once', () => {
  const failures = new Failures(0)
  expect(add(failures, FAULT, 20)).toEqual([1, 4, 5, 16])
})

test('failures are lasting if several occur in a row without a receive between them', () => {
  const failures = new Failures(0)
  add(failures, FAULT, 4)
  expect(failures.isLasting).toBe(false)
  failures.clear()
  add(failures, FAULT, 4)
  expect(failures.isLasting).toBe(false)
  add(failures, FAULT, 1)
  expect(failures.isLasting).toBe(true)
})

test.each(['ZYQ_CONNECTION_LOST', 'ZYQ_UNREACHABLE', 'ZYQ_BROKER_BUSY', 'ZYQ_BROKER_FULL'] as const)(
  'another process would not help while the broker answers %s: what was before does not count',
  (code) => {
    const failures = new Failures(0)
    add(failures, FAULT, 4)
    add(failures, new BrokerError(code, 'for the test'), 100)
    expect(failures.isLasting).toBe(false)
    add(failures, FAULT, 4)
    expect(failures.isLasting).toBe(false)
  },
)

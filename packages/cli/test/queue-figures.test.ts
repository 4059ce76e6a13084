import { expect, test } from 'vitest'
import { readyPerSecond, totalOf } from '../src/queue-figures.ts'

test('a total has the sums, without the workers, and the oldest job', () => {
  const a = { name: 'a', ready: 3, dead: 1, workers: 2, oldestStoredAtMs: 7 }
  const b = { name: 'b', ready: 4, active: 1, workers: 2, oldestStoredAtMs: 5 }
  expect(totalOf([a, b, { name: 'c' }])).toEqual({ name: '', ready: 7, active: 1, dead: 1, oldestStoredAtMs: 5 })
  expect(totalOf([])).toEqual({ name: '' })
})

test('a rate is the change of ready jobs per second', () => {
  const before = { atMs: 1_000, queues: [{ name: 'a', ready: 10 }, { name: 'b', ready: 1 }, { name: 'c' }] }
  const now = {
    atMs: 3_000,
    queues: [
      { name: 'a', ready: 15 },
      { name: 'b', ready: 0 },
      { name: 'c', ready: 1 },
      { name: 'd', ready: 1 },
    ],
  }
  const rates = ['a', 'b', 'c', 'd', ''].map((name) => readyPerSecond(name, now, before))
  expect(rates).toEqual([2.5, -0.5, undefined, undefined, 3])
})

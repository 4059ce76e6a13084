import { describe, expect, test } from 'vitest'
import { afterAttempt, decideKill, decidePoison, lostDeliveries } from '../../src/worker/poison.ts'

describe('decidePoison', () => {
  const decide = (deliveryCount: number, countsAllHeld: boolean, headers = {}) =>
    decidePoison({ deliveryCount, headers, maxDeliveries: 4, countsAllHeld })

  test('a job without lost deliveries runs beside others', () => {
    expect(decide(0, false)).toEqual({ lost: 0, isPoison: false, alone: false })
  })

  test('the last delivery runs alone if only jobs that ran count', () => {
    expect([1, 2, 3].map((count) => decide(count, false).alone)).toEqual([false, false, true])
  })

  test('the second half of the deliveries runs alone if all held jobs count', () => {
    expect([1, 2, 3].map((count) => decide(count, true).alone)).toEqual([false, true, true])
  })

  test('a job is poison after maxDeliveries lost deliveries; kills do not count', () => {
    expect(decide(4, false)).toMatchObject({ lost: 4, isPoison: true })
    expect(decide(4, false, { 'zyq-kills': '1' })).toMatchObject({ lost: 3, isPoison: false })
    expect(decide(4, false, { 'zyq-killed': 'ZYQ_JOB_TIMEOUT' })).toMatchObject({ lost: 3, isPoison: false })
  })
})

test('an attempt counts the kills and removes the marks', () => {
  expect(afterAttempt({ 'zyq-killed': 'x', 'zyq-run-alone': 'x', 'zyq-kills': '1' })).toEqual({
    'zyq-killed': undefined,
    'zyq-run-alone': undefined,
    'zyq-kills': '3',
  })
})

describe('decideKill', () => {
  const job = (jobId: string, deadlineMs: number, started = true) => ({ consumerId: 'c', jobId, started, deadlineMs })
  const [overdue, other, unlimited, waiting] = [job('a', 100), job('b', 150), job('c', 0), job('d', 100, false)]

  test('nothing is killed if no started job is overdue', () => {
    expect(decideKill([unlimited, waiting, job('e', 300)], { now: 200, freeAt: 0, isBlocked: true })).toBeUndefined()
  })

  test('a job that was overdue when the process was free is the culprit', () => {
    const decision = decideKill([overdue, other], { now: 200, freeAt: 120, isBlocked: false })
    expect(decision).toEqual({ culprits: [overdue], runAlone: [] })
  })

  test('the only job of a blocked process is the culprit', () => {
    const decision = decideKill([overdue, waiting], { now: 200, freeAt: 50, isBlocked: true })
    expect(decision).toEqual({ culprits: [overdue], runAlone: [] })
  })

  test('if a blocked process runs several jobs, the overdue ones run alone the next time', () => {
    const decision = decideKill([overdue, unlimited], { now: 200, freeAt: 50, isBlocked: true })
    expect(decision).toEqual({ culprits: [], runAlone: [overdue] })
  })

  test('a process that is not known to be blocked is left alone', () => {
    expect(decideKill([overdue], { now: 200, freeAt: 50, isBlocked: false })).toBeUndefined()
  })

  test('lost deliveries are reported for the consumer of the job, with the mark of the decision', () => {
    const kill = { culprits: [overdue], runAlone: [other] }
    expect(lostDeliveries('c', kill, [unlimited])).toEqual([
      { id: 'a', headers: { 'zyq-killed': 'ZYQ_JOB_TIMEOUT' } },
      { id: 'b', headers: { 'zyq-run-alone': 'ZYQ_JOB_TIMEOUT' } },
      { id: 'c' },
    ])
    expect(lostDeliveries('another', kill, [unlimited])).toEqual([])
  })
})

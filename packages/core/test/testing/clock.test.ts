import { describe, expect, test } from 'vitest'
import { createVirtualClock, systemClock } from '../../src/testing/clock.ts'

describe('a virtual clock', () => {
  test('does not move until it is advanced', async () => {
    const clock = createVirtualClock(1000)
    expect(clock.now()).toBe(1000)
    await clock.advance(250)
    expect(clock.now()).toBe(1250)
  })

  test('runs each timer at its time, in order, also timers that are set meanwhile', async () => {
    const clock = createVirtualClock(0)
    const ran: string[] = []
    const note = (name: string): void => void ran.push(`${name} at ${clock.now()}`)
    clock.setTimer(() => note('second'), 20)
    clock.setTimer(() => {
      note('first')
      clock.setTimer(() => note('set on the way'), 5)
    }, 10)
    clock.setTimer(() => note('second, set later'), 20)
    clock.setTimer(() => note('too late'), 101)
    await clock.advance(100)
    expect(ran).toEqual(['first at 10', 'set on the way at 15', 'second at 20', 'second, set later at 20'])
    expect(clock.now()).toBe(100)
  })

  test('does not run cancelled timers, and a late cancel has no effect', async () => {
    const clock = createVirtualClock(0)
    const ran: number[] = []
    const cancel = clock.setTimer(() => ran.push(1), 10)
    const cancelLate = clock.setTimer(() => ran.push(2), 10)
    cancel()
    cancel()
    await clock.advance(10)
    cancelLate()
    expect(ran).toEqual([2])
  })

  test('runs pending promises before, between and after the timers', async () => {
    const clock = createVirtualClock(0)
    const sleep = (ms: number) => new Promise<void>((resolve) => clock.setTimer(resolve, ms))
    const moments: number[] = []
    const walk = async (): Promise<void> => {
      await Promise.resolve()
      for (let step = 0; step < 3; step++) {
        await sleep(10)
        moments.push(clock.now())
      }
    }
    const walking = walk()
    await clock.advance(30)
    await walking
    expect(moments).toEqual([10, 20, 30])
  })

  test('runs advances one after the other, also after a timer that threw', async () => {
    const clock = createVirtualClock(0)
    clock.setTimer(() => {
      throw new Error('thrown by a timer')
    }, 5)
    const advances = [clock.advance(10), clock.advance(10)]
    await expect(advances[0]).rejects.toThrow('thrown by a timer')
    await advances[1]
    expect(clock.now()).toBe(15)
  })
})

test('the system clock supports long timers', async () => {
  let ran = false
  const cancel = systemClock.setTimer(() => (ran = true), 30 * 86_400_000)
  await new Promise<void>((resolve) => {
    systemClock.setTimer(resolve, 20)
    setTimeout(resolve, 2000)
  })
  cancel()
  expect(ran).toBe(false)
})

import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { startTimeout, Watchdog } from '../../src/adapter/watchdog.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('a timeout calls back once, after its time', () => {
  const onTimeout = vi.fn()
  startTimeout(7_000, onTimeout)
  vi.advanceTimersByTime(6_999)
  expect(onTimeout).not.toHaveBeenCalled()
  vi.advanceTimersByTime(60_000)
  expect(onTimeout).toHaveBeenCalledOnce()
})

test('a stopped timeout does not call back', () => {
  const onTimeout = vi.fn()
  const stop = startTimeout(7_000, onTimeout)
  vi.advanceTimersByTime(5_000)
  stop()
  stop()
  vi.advanceTimersByTime(60_000)
  expect(onTimeout).not.toHaveBeenCalled()
})

test('a blocked event loop is not a timeout', async () => {
  vi.useRealTimers()
  const onTimeout = vi.fn()
  const stop = startTimeout(70, onTimeout)
  for (const end = performance.now() + 200; performance.now() < end;);
  await new Promise(setImmediate)
  expect(onTimeout).not.toHaveBeenCalled()
  stop()
})

interface Peer {
  progress: number
  isExpecting: boolean
}

function watch(peer: Peer, maxSilentTurns = 3): { readonly events: string[]; readonly watchdog: Watchdog } {
  const events: string[] = []
  const watchdog = new Watchdog({
    turnMs: 1_000,
    maxSilentTurns: () => maxSilentTurns,
    progress: () => peer.progress,
    isExpecting: () => peer.isExpecting,
    onSilentTurn: (turns) => void events.push(`turn ${turns}`),
    onSilence: () => void events.push('silence'),
  })
  return { events, watchdog }
}

test('a peer that owes an answer and sends nothing is reported once', () => {
  const { events } = watch({ progress: 0, isExpecting: true })
  vi.advanceTimersByTime(60_000)
  expect(events).toEqual(['turn 1', 'turn 2', 'silence'])
})

test('progress starts the count again', () => {
  const peer = { progress: 0, isExpecting: true }
  const { events } = watch(peer)
  vi.advanceTimersByTime(2_000)
  peer.progress++
  vi.advanceTimersByTime(3_000)
  expect(events).toEqual(['turn 1', 'turn 2', 'turn 1', 'turn 2'])
})

test('a peer that owes no answer may be silent, and what it owes later counts from then', () => {
  const peer = { progress: 0, isExpecting: false }
  const { events } = watch(peer)
  vi.advanceTimersByTime(60_000)
  peer.isExpecting = true
  vi.advanceTimersByTime(2_000)
  peer.isExpecting = false
  vi.advanceTimersByTime(1_000)
  peer.isExpecting = true
  vi.advanceTimersByTime(1_000)
  expect(events).toEqual(['turn 1', 'turn 2', 'turn 1'])
})

test('a stopped watchdog reports nothing', () => {
  const { events, watchdog } = watch({ progress: 0, isExpecting: true })
  vi.advanceTimersByTime(2_000)
  watchdog.stop()
  vi.advanceTimersByTime(60_000)
  expect(events).toEqual(['turn 1', 'turn 2'])
})

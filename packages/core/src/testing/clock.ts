import { setImmediate as nextTurn } from 'node:timers/promises'
import { Heap, type HeapItem } from './heap.ts'

/** Where the in-memory broker has its time from. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Calls `run` once, `ms` milliseconds from now, unless the returned function is called before. */
  setTimer(run: () => void, ms: number): () => void
}

/** Node clamps longer timeouts to 1 ms. */
const longestTimeout = 2 ** 31 - 1

/** The time of this machine. It does not jump when the machine's clock is set, and its timers keep no process alive. */
export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),

  setTimer(run, ms) {
    const dueAtMs = systemClock.now() + ms
    let timer: NodeJS.Timeout | undefined
    const arm = (): void => {
      const leftMs = dueAtMs - systemClock.now()
      timer = setTimeout(leftMs > longestTimeout ? arm : run, Math.min(leftMs, longestTimeout)).unref()
    }
    arm()
    return () => clearTimeout(timer)
  },
}

/** A clock that stands still until it is told to advance. */
export interface VirtualClock extends Clock {
  /**
   * Moves the time on by `ms` milliseconds, and runs each timer that becomes due at its own moment, in order, also timers that
   * are set on the way included. Before, between and after, whatever can go on without time passing does. Calls queue up.
   */
  advance(ms: number): Promise<void>
}

interface VirtualTimer extends HeapItem {
  readonly dueAtMs: number
  readonly order: number
  readonly run: () => void
}

/** A clock for tests: it starts at `startMs` (default: the year 2000) and moves only in `advance`. */
export function createVirtualClock(startMs: number = Date.UTC(2000, 0, 1)): VirtualClock {
  const timers = new Heap<VirtualTimer>((a, b) => (a.dueAtMs === b.dueAtMs ? a.order < b.order : a.dueAtMs < b.dueAtMs))
  let nowMs = startMs
  let timersSet = 0
  let lastAdvance: Promise<void> = Promise.resolve()

  async function moveOn(ms: number): Promise<void> {
    await nextTurn()
    const untilMs = nowMs + ms
    for (;;) {
      const next = timers.first()
      if (next === undefined || next.dueAtMs > untilMs) break
      timers.remove(next)
      nowMs = Math.max(nowMs, next.dueAtMs)
      next.run()
      await nextTurn()
    }
    nowMs = untilMs
    await nextTurn()
  }

  return {
    now: () => nowMs,

    setTimer(run, ms) {
      const timer: VirtualTimer = { dueAtMs: nowMs + Math.max(0, ms), order: timersSet++, run, heapIndex: -1 }
      timers.push(timer)
      return () => {
        if (timer.heapIndex >= 0) timers.remove(timer)
      }
    },

    async advance(ms) {
      const advance = lastAdvance.then(() => moveOn(ms))
      lastAdvance = advance.catch(() => undefined)
      await advance
    },
  }
}

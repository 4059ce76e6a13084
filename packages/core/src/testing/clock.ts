import { setImmediate as nextTurn } from 'node:timers/promises'
import { Heap, type HeapItem } from './heap.ts'

/** The clock of the in-memory broker. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Calls `run` once, `ms` milliseconds from now, unless the returned function is called before. */
  setTimer(run: () => void, ms: number): () => void
}

/** Node clamps longer timeouts to 1 ms. */
const longestTimeout = 2 ** 31 - 1

/** The time of this machine. It does not jump if the machine's clock is set. Its timers do not keep the process alive. */
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

/** A clock that moves only in `advance`. */
export interface VirtualClock extends Clock {
  /**
   * Advances the time by `ms` milliseconds and runs the due timers in order, also timers that are set meanwhile. Before, between
   * and after timers it waits for pending work that needs no time. Concurrent calls run one after the other.
   */
  advance(ms: number): Promise<void>
}

interface VirtualTimer extends HeapItem {
  readonly dueAtMs: number
  readonly order: number
  readonly run: () => void
}

/** Creates a clock for tests. It starts at `startMs` (default: the year 2000). */
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

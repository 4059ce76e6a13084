import type { QueueStats } from '@zyqueue/core/broker'

/** The figures of queues at a moment of the monotonic clock. */
export interface Look {
  readonly queues: readonly QueueStats[]
  readonly atMs: number
}

/**
 * The sums of the figures of queues; the oldest of their jobs. A figure that no queue has is absent. Workers may serve several
 * queues, so their number is left out.
 */
export function totalOf(queues: readonly QueueStats[]): QueueStats {
  const sums: { ready?: number; delayed?: number; active?: number; dead?: number } = {}
  for (const queue of queues) {
    for (const figure of ['ready', 'delayed', 'active', 'dead'] as const) {
      const count = queue[figure]
      if (count !== undefined) sums[figure] = (sums[figure] ?? 0) + count
    }
  }
  const times = queues.flatMap(({ oldestStoredAtMs }) => oldestStoredAtMs ?? [])
  return { name: '', ...sums, ...(times.length > 0 && { oldestStoredAtMs: Math.min(...times) }) }
}

/**
 * How fast the number of ready jobs has changed between two looks, in jobs per second, with one decimal: positive if it grows. For
 * the name of a total, of all queues. Undefined if a look does not have the number.
 */
export function readyPerSecond(name: string, now: Look, before: Look): number | undefined {
  const [ready, earlier] = [now, before].map(({ queues }) =>
    name === '' ? totalOf(queues).ready : queues.find((queue) => queue.name === name)?.ready,
  )
  if (ready === undefined || earlier === undefined) return undefined
  return Math.round((10_000 * (ready - earlier)) / (now.atMs - before.atMs)) / 10
}

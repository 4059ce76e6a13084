/**
 * The functions that hold a queue's jobs. Those that are ready wait in the function of the queue's own name, where every
 * Gearman program finds them. What is not ready waits in functions that nobody consumes, until one of our workers does.
 */

const PREFIX = 'zyq:'

/** What a function is for. `other`: something that begins with our prefix and is of another version. */
export type Purpose =
  | { readonly kind: 'ready'; readonly queue: string }
  | { readonly kind: 'delayed'; readonly queue: string; readonly atMs: number }
  | { readonly kind: 'dead'; readonly queue: string }
  | { readonly kind: 'charges' | 'other' }

export function purposeOf(functionName: string): Purpose {
  if (!functionName.startsWith(PREFIX)) return { kind: 'ready', queue: functionName }
  if (functionName === LOST_FUNCTION) return { kind: 'charges' }
  const dead = deadFunction('')
  if (functionName.startsWith(dead)) return { kind: 'dead', queue: functionName.slice(dead.length) }
  const [, at, queue] = /^zyq:delayed:(\d{1,15}):(.*)$/s.exec(functionName) ?? []
  if (at === undefined || queue === undefined) return { kind: 'other' }
  return { kind: 'delayed', queue, atMs: Number(at) }
}

export function isReserved(queue: string): boolean {
  return queue.startsWith(PREFIX)
}

/** Holds the dead letters of a queue. */
export function deadFunction(queue: string): string {
  return `${PREFIX}dead:${queue}`
}

/** Holds delayed jobs of a queue, to be looked at from `atMs` on, in ms since 1970. */
export function delayedFunction(queue: string, atMs: number): string {
  return `${PREFIX}delayed:${atMs}:${queue}`
}

/** Holds what is known of owners that died (`charges.ts`). */
export const LOST_FUNCTION = 'zyq:charges'

/** The width of the finest slots, in ms: a delayed job is at most so late, and what the server takes. */
const FINEST_MS = 250
/** A coarser slot is as wide as so many of the next finer ones. */
const RATIO = 32

/**
 * The slot for a job that is due at `dueMs`: when it is to be looked at.
 *
 * Near its time it is the end of a quarter of a second, and the job is ready then. Farther away slots are wider and begin
 * before their jobs are due: looked at then, a job moves to a finer one. So however many jobs are delayed and by how much,
 * there are at most 32 slots of each width, and no job moves more than a few times.
 */
export function slotOf(dueMs: number, nowMs: number): number {
  let width = FINEST_MS
  if (dueMs - nowMs < width * RATIO) return Math.ceil(dueMs / width) * width
  while (dueMs - nowMs >= width * RATIO) width *= RATIO
  return Math.floor(dueMs / width) * width
}

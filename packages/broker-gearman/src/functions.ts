/**
 * The Gearman functions that hold the jobs of a queue. Ready jobs wait in the function that has the name of the queue, so that
 * every Gearman program finds them. Other jobs wait in functions that no worker serves until our workers have a reason to.
 */

const PREFIX = 'zyq:'

/** What a function holds. `other`: its name begins with our prefix, and this version does not know it. */
export type Purpose =
  | { readonly kind: 'ready'; readonly queue: string }
  | { readonly kind: 'delayed'; readonly queue: string; readonly atMs: number }
  | { readonly kind: 'dead'; readonly queue: string }
  | { readonly kind: 'lost' | 'other' }

export function purposeOf(functionName: string): Purpose {
  if (!functionName.startsWith(PREFIX)) return { kind: 'ready', queue: functionName }
  if (functionName === LOST_FUNCTION) return { kind: 'lost' }
  const dead = deadFunction('')
  if (functionName.startsWith(dead)) return { kind: 'dead', queue: functionName.slice(dead.length) }
  const [, at, queue] = /^zyq:delayed:(\d{1,15}):(.*)$/s.exec(functionName) ?? []
  if (at === undefined || queue === undefined) return { kind: 'other' }
  return { kind: 'delayed', queue, atMs: Number(at) }
}

/** The queue whose jobs the function holds. A function that holds none stands for itself. */
export function queueOf(functionName: string): string {
  const purpose = purposeOf(functionName)
  return 'queue' in purpose ? purpose.queue : functionName
}

export function isReserved(queue: string): boolean {
  return queue.startsWith(PREFIX)
}

/** Holds the dead letters of a queue. */
export function deadFunction(queue: string): string {
  return `${PREFIX}dead:${queue}`
}

/** Holds delayed jobs of a queue. Workers look at them from `atMs` on, in ms since 1970. */
export function delayedFunction(queue: string, atMs: number): string {
  return `${PREFIX}delayed:${atMs}:${queue}`
}

/** Holds the notes about lost deliveries (`consume/lost-deliveries.ts`). */
export const LOST_FUNCTION = 'zyq:lost'

/** The width of the finest slots in ms. A delayed job is late by at most this much, and what the server takes. */
const FINEST_MS = 250
/** A slot is this many times as wide as the next finer one. */
const RATIO = 32

/**
 * The slot for a job that is due at `dueMs`: the time from which workers look at it.
 *
 * If the job is due soon, its slot is the end of a quarter of a second, and the job is ready then. Slots that are farther away
 * are wider and begin before their jobs are due: a worker then moves the job to a finer slot. So there are at most 32 slots of
 * each width, and a job moves only a few times, however many jobs are delayed and by how much.
 */
export function slotOf(dueMs: number, nowMs: number): number {
  let width = FINEST_MS
  if (dueMs - nowMs < width * RATIO) return Math.ceil(dueMs / width) * width
  while (dueMs - nowMs >= width * RATIO) width *= RATIO
  return Math.floor(dueMs / width) * width
}

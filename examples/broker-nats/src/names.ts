/** The names of streams, subjects and consumers in the server. */
import { createHash } from 'node:crypto'

export const JOBS = 'ZYQUEUE'
export const DEAD = 'ZYQUEUE_DEAD'
export const JOB_SUBJECTS = 'zyqueue.job.*'
export const DEAD_SUBJECTS = 'zyqueue.dead.*'
/** Every consumer of ZyQueue answers a request to this subject with its `WorkerStats`. */
export const ROLL_CALL = 'zyqueue.workers'

export const jobSubject = (queue: string): string => `zyqueue.job.${token(queue)}`
export const wakeSubject = (queue: string): string => `zyqueue.wake.${token(queue)}`
export const deadSubject = (queue: string): string => `zyqueue.dead.${token(queue)}`

/** The name of a queue's durable consumer. A hash, because such a name has at most 255 characters and an escaped one may have 600. */
export function durableOf(queue: string): string {
  return createHash('sha256').update(queue).digest('base64url')
}

/** One token of a subject: each byte that is not a letter, a digit, `_` or `-` becomes `=` and two hexadecimal digits. */
function token(queue: string): string {
  return queue.replace(/[^\w-]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `=${byte.toString(16).padStart(2, '0')}`).join(''),
  )
}

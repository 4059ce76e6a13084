/** Where jobs are in the server: two streams for all queues, and a durable consumer for each queue. */
import { createHash } from 'node:crypto'

export const JOBS = 'ZYQUEUE'
export const DEAD = 'ZYQUEUE_DEAD'
export const JOB_SUBJECTS = 'zyqueue.job.*'
export const DEAD_SUBJECTS = 'zyqueue.dead.*'
/** Who consumes answers here. */
export const ROLL_CALL = 'zyqueue.workers'

export const jobSubject = (queue: string): string => `zyqueue.job.${token(queue)}`
export const wakeSubject = (queue: string): string => `zyqueue.wake.${token(queue)}`
export const deadSubject = (queue: string): string => `zyqueue.dead.${token(queue)}`

/** The name of a queue's consumer: those have at most 255 characters, which an escaped name may not fit into. */
export function durableOf(queue: string): string {
  return createHash('sha256').update(queue).digest('base64url')
}

/** One token of a subject: a byte that is no letter, digit, `_` or `-` is `=` and two digits. */
function token(queue: string): string {
  return queue.replace(/[^\w-]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `=${byte.toString(16).padStart(2, '0')}`).join(''),
  )
}

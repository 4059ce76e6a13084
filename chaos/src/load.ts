/** The jobs of a run: what the producer submits, what the handlers do, and what both record. */
import { createHash } from 'node:crypto'
import type { SubmitStatus } from '@zyqueue/broker-test-kit'
import { ZyQueueError } from '@zyqueue/core'
import { z } from 'zod'

/** The most attempts of a job: one and five retries. Jobs that must succeed throw at most three times. */
export const MAX_ATTEMPTS = 6
/** A job that loses this number of workers counts as poison. The default of core. */
export const MAX_DELIVERIES = 5
/** The supervisor kills the process of an attempt after this time, in ms. */
export const HARD_TIMEOUT_MS = 4_000

/** Environment variables of the processes of a run. */
export const FOLDER = 'ZYQUEUE_CHAOS_FOLDER'
export const BROKER = 'ZYQUEUE_CHAOS_BROKER'
/** The name of the task, and of its queue. */
export const TASK = 'ZYQUEUE_CHAOS_TASK'

export const payload = z.object({
  /** The producer's name of the job. Ids belong to the broker. */
  job: z.string(),
  /** How long the handler takes, in ms. */
  ms: z.number(),
  /** The number of attempts that throw before one succeeds. */
  fails: z.number(),
  /** How the handler harms its process, if it does. */
  poison: z.enum(['exit', 'memory', 'spin']).optional(),
  filler: z.string(),
})
export type Payload = z.infer<typeof payload>

/** The status of a submit that rejected with this error. */
export function statusOf(error: unknown): Exclude<SubmitStatus, 'stored'> {
  return error instanceof ZyQueueError && error.code === 'ZYQ_OUTCOME_UNKNOWN' ? 'unknown' : 'refused'
}

export function hashOf(data: unknown): string {
  return createHash('sha256').update(JSON.stringify(data)).digest('base64url').slice(0, 16)
}

/** Whether a job must become a dead letter. Its name says so. */
export function mustBeDead(job: string): boolean {
  return /^(?:poison|failing|garbage)-/.test(job)
}

/** The jobs of a cell: what the producer submits, what the handlers do, and what both note. */
import { createHash } from 'node:crypto'
import type { SubmitStatus } from '@zyqueue/broker-test-kit'
import { ZyQueueError } from '@zyqueue/core'
import { z } from 'zod'

/** Attempts that a job may have: one, and five retries. Those that are to succeed throw three times at most. */
export const MAX_ATTEMPTS = 6
/** So many lost workers condemn a job: as many as by default. */
export const MAX_DELIVERIES = 5
/** After so many ms the supervisor kills the process of an attempt. */
export const HARD_TIMEOUT_MS = 4_000

/** What the processes of a cell read from their environment. */
export const FOLDER = 'ZYQUEUE_CHAOS_FOLDER'
export const BROKER = 'ZYQUEUE_CHAOS_BROKER'
/** The name of the task, and of its queue. */
export const TASK = 'ZYQUEUE_CHAOS_TASK'

export const payload = z.object({
  /** The producer's own name for the job: ids are the broker's business. */
  job: z.string(),
  /** How long the handler takes, in ms. */
  ms: z.number(),
  /** How many attempts throw before one succeeds. */
  fails: z.number(),
  /** How the handler ends its own process, where it does. */
  poison: z.enum(['exit', 'memory', 'spin']).optional(),
  filler: z.string(),
})
export type Payload = z.infer<typeof payload>

/** What became of a submit that was not stored. */
export function statusOf(error: unknown): Exclude<SubmitStatus, 'stored'> {
  return error instanceof ZyQueueError && error.code === 'ZYQ_OUTCOME_UNKNOWN' ? 'unknown' : 'refused'
}

export function hashOf(data: unknown): string {
  return createHash('sha256').update(JSON.stringify(data)).digest('base64url').slice(0, 16)
}

/** Whether a job has to end among the dead letters; its name says so. */
export function mustBeDead(job: string): boolean {
  return /^(?:poison|failing|garbage)-/.test(job)
}

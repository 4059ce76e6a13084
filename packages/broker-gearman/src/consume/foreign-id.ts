import { createHash } from 'node:crypto'
import type { Assignment } from '../connection/protocol.ts'
import { freshUnique } from '../message.ts'

const KEYED = /^foreign\.[\w-]{16}\./

/**
 * An id for one delivery of a job that another program submitted. It is never used again: gearmand uses its handles again after
 * a restart, and programs use the same unique again. It begins with a key that all deliveries of the job share.
 */
export function foreignId(server: string, { functionName, handle, workload }: Assignment): string {
  const hash = createHash('sha256').update(`${server}\0${functionName}\0${handle}\0`).update(workload)
  return `foreign.${hash.digest('base64url').slice(0, 16)}.${freshUnique()}`
}

/** The name under which the lost deliveries of a job are counted. */
export function lossKeyOf(jobId: string): string {
  return KEYED.exec(jobId)?.[0] ?? jobId
}

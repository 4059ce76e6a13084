import type { OutboundMessage } from '@zyqueue/core/broker'
import { deadFunction, delayedFunction, slotOf } from './functions.ts'
import { PACKET } from './connection/protocol.ts'
import type { Submission } from './publish/publish.ts'
import { backgroundPacket, encodeAgain, encodeCall, encodeFirst, foregroundPacket, type StoredJob } from './message.ts'

/** A submission with the slot that it is delayed to, where it is. */
export interface Routed extends Submission {
  readonly atMs?: number
}

/** Where a new message goes. */
export function firstOf({ queue, id, headers, body, priority, delayMs }: OutboundMessage, nowMs: number): Routed {
  const job = { id, headers, body, priority, deliveryCount: 0 }
  if (delayMs <= 0) return { functionName: queue, packet: backgroundPacket(priority), ...encodeFirst(job) }
  const dueMs = Math.ceil(nowMs + delayMs)
  return delayedAgain({ ...job, dueMs }, queue, slotOf(dueMs, nowMs))
}

/** Where a message goes whose sender waits for its end. */
export function callOf({ queue, id, headers, body, priority }: OutboundMessage): Submission {
  const job = { id, headers, body, priority, deliveryCount: 0 }
  return { functionName: queue, packet: foregroundPacket(priority), ...encodeCall(job) }
}

/** Where a job goes that was in somebody's hands, to be ready at once. */
export function readyAgain(job: StoredJob, queue: string): Routed {
  return { functionName: queue, packet: backgroundPacket(job.priority), ...encodeAgain(job) }
}

export function delayedAgain(job: StoredJob, queue: string, atMs: number): Routed {
  const functionName = delayedFunction(queue, atMs)
  return { functionName, packet: backgroundPacket(job.priority), atMs, ...encodeAgain(job) }
}

export function deadLetter(job: StoredJob, queue: string): Routed {
  return { functionName: deadFunction(queue), packet: PACKET.SUBMIT_JOB_BG, ...encodeAgain(job) }
}

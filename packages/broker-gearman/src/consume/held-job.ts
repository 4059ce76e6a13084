import type { Delivery, Headers } from '@zyqueue/core/broker'
import type { Assignment } from '../connection/protocol.ts'
import { queueOf } from '../functions.ts'
import { decodeJob, FORMAT, isOurs, type GearmanJob } from '../message.ts'
import { foreignId } from './foreign-id.ts'
import type { LostDeliveries, LostDeliveryNote } from './lost-deliveries.ts'
import type { WorkerConnection } from './worker-connection.ts'

/** A job that a server has assigned to one of a consumer's connections. */
export interface HeldJob {
  readonly worker: WorkerConnection
  readonly handle: string
  readonly functionName: string
  /** Whether another program submitted it, and may wait for its end. */
  readonly isForeign: boolean
  /** When a delayed job is due, in ms since 1970. */
  readonly dueMs: number | undefined
  /** What a copy of it must hold. */
  readonly job: GearmanJob
  readonly delivery: Delivery
}

/** `isAwaited`: the server says that a client waits for the job. */
export function holdJob(
  worker: WorkerConnection,
  assignment: Assignment,
  lostDeliveries: LostDeliveries,
  isAwaited: boolean,
): HeldJob {
  const { handle, functionName, unique } = assignment
  const { isCall, dueMs, ...received } = decodeJob(unique, assignment.workload)
  const id = received.id || foreignId(worker.connection.location, assignment)
  const { lost: counted = [], unknownFormat, body, priority } = received
  const notes = lostDeliveries.of(id).filter(({ key }) => !counted.includes(key))
  const queue = queueOf(functionName)
  const headers = notes.length === 0 ? received.headers : mergeHeaders(received.headers, notes)
  const deliveryCount = received.deliveryCount + notes.length
  const lost = notes.length === 0 ? counted : [...counted, ...notes.map(({ key }) => key)]
  return {
    worker,
    handle,
    functionName,
    isForeign: !isOurs(unique),
    dueMs,
    job: { id, headers, body, priority, deliveryCount, lost, unknownFormat },
    delivery: {
      id,
      queue,
      headers,
      body,
      priority,
      deliveryCount,
      foreground: isCall || isAwaited,
      ...(unknownFormat === undefined ? {} : { undecodable: describeFormat(unknownFormat) }),
    },
  }
}

/** For the reason of a dead letter. */
export function describeFormat(format: number): string {
  return `The job has format ${format}, and this version of @zyqueue/broker-gearman reads format ${FORMAT}. Update it, then requeue the dead letter.`
}

function mergeHeaders(headers: Headers, notes: readonly LostDeliveryNote[]): Headers {
  const merged: Record<string, string> = Object.assign(Object.create(null), headers)
  for (const note of notes) for (const [name, value] of Object.entries(note.headers ?? {})) merged[name] = value
  return merged
}

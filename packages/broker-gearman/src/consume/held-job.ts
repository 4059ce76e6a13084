import type { Delivery, Headers } from '@zyqueue/core/broker'
import type { Assignment } from '../connection/protocol.ts'
import { queueOf } from '../functions.ts'
import { decodeJob, encodeJob, FORMAT, isOurs, type GearmanJob, type Submission } from '../message.ts'
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
  /** The keys of the lost deliveries that `delivery.deliveryCount` holds. */
  readonly lost: readonly string[]
  /** The version of its format, if this adapter cannot read it. */
  readonly unknownFormat: number | undefined
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
  const received = decodeJob(unique, assignment.workload)
  const id = received.id || foreignId(worker.connection.location, assignment)
  const { lost: counted = [], dueMs, unknownFormat, body, priority } = received
  const notes = lostDeliveries.of(id).filter(({ key }) => !counted.includes(key))
  const delivery: Delivery = {
    id,
    queue: queueOf(functionName),
    headers: notes.length === 0 ? received.headers : mergeHeaders(received.headers, notes),
    body,
    priority,
    deliveryCount: received.deliveryCount + notes.length,
    foreground: received.isCall || isAwaited,
  }
  return {
    worker,
    handle,
    functionName,
    isForeign: !isOurs(unique),
    dueMs,
    lost: notes.length === 0 ? counted : [...counted, ...notes.map(({ key }) => key)],
    unknownFormat,
    delivery: unknownFormat === undefined ? delivery : { ...delivery, undecodable: describeFormat(unknownFormat) },
  }
}

/** A packet that stores the job again, with these changes. */
export function encodeCopy({ delivery, lost, unknownFormat }: HeldJob, changes: Partial<GearmanJob>): Submission {
  return encodeJob(delivery.queue, { ...delivery, lost, unknownFormat, ...changes }, 'copy')
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

/**
 * The format of stored jobs. `encodeJob` makes the packet that submits a job, and `decodeJob` reads what a server assigns.
 *
 * If a job is only an id and a body, the workload is the body, as every Gearman program writes and reads it, and the unique is
 * a mark and the id. The mark says that the job is ours, its priority, and whether its submitter waits: gearmand does not report
 * these to workers. Every other job travels in an envelope: `#zyq1 `, one line of JSON (`Head`), and the body. JSON never begins
 * with `#`, so an envelope is never taken for a body.
 *
 * The number in `#zyq1 ` is the version of the format. A job of another version is kept as it is: it becomes a dead letter whose
 * reason says which version it has, and returns to its queue unchanged when it is requeued.
 *
 * A job without a mark and without an envelope is foreign: another program submitted it. Its unique is not its id, because other
 * programs use the same unique again.
 */
import { Buffer } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import type { Headers } from '@zyqueue/core/broker'
import { z } from 'zod'
import { PACKET } from './connection/protocol.ts'
import { deadFunction, delayedFunction, slotOf } from './functions.ts'

/** gearmand keeps 63 bytes of a unique, and joins two jobs that have the same. */
export const MAX_UNIQUE_BYTES = 63

/** The version of the envelope that this adapter writes and reads. */
export const FORMAT = 1
const ENVELOPE = /^#zyq(\d{1,6}) /
const MAX_PREFIX_BYTES = '#zyq999999 '.length
const HASH = 0x23
const LINE_FEED = 0x0a
/** The head holds headers and a reason. A workload without a line feed in this many bytes is no envelope. */
const MAX_HEAD_BYTES = 16 * 1024 * 1024

/** The three levels of priority of a function in gearmand. */
export type Level = 'high' | 'normal' | 'low'

export function levelOf(priority: number): Level {
  if (priority >= 7) return 'high'
  return priority >= 4 ? 'normal' : 'low'
}

/** The priority of a job that says only its level: the priorities that core gives these names. */
const PRIORITY: Readonly<Record<Level, number>> = { high: 7, normal: 4, low: 1 }

const MARK = { high: 'zyq+', normal: 'zyq:', low: 'zyq-', call: 'zyq=' } as const
const MARKED = /^zyq(?<mark>[-+:=])(?<id>.+)$/s
const LEVEL: Readonly<Record<string, Level>> = { '+': 'high', '-': 'low' }

const BACKGROUND = { high: PACKET.SUBMIT_JOB_HIGH_BG, normal: PACKET.SUBMIT_JOB_BG, low: PACKET.SUBMIT_JOB_LOW_BG }
const FOREGROUND = { high: PACKET.SUBMIT_JOB_HIGH, normal: PACKET.SUBMIT_JOB, low: PACKET.SUBMIT_JOB_LOW }

/** A job as it is stored. */
export interface GearmanJob {
  readonly id: string
  readonly headers: Headers
  readonly body: Uint8Array
  /** 0 to 9. */
  readonly priority: number
  /** How many owners it has lost. */
  readonly deliveryCount: number
  /** The keys of the lost deliveries that `deliveryCount` holds already. Their notes may still exist. */
  readonly lost?: readonly string[]
  /** When a delayed job is due, in ms since 1970. */
  readonly dueMs?: number | undefined
  /** Present if the job is a dead letter. */
  readonly death?: { readonly reason: string; readonly atMs: number } | undefined
  /** The version of the format, if this adapter cannot read it. `body` is then the whole workload. */
  readonly unknownFormat?: number | undefined
}

/** The id of a foreign job is empty: see `foreign-id.ts`. */
export interface ReceivedJob extends GearmanJob {
  /** Whether the job is a call of ours, whose submitter waits for its end. */
  readonly isCall: boolean
}

/** One SUBMIT_JOB packet. */
export interface Submission {
  readonly packet: number
  readonly functionName: string
  readonly unique: string
  readonly workload: Uint8Array
  /** The slot of a delayed job. */
  readonly atMs?: number | undefined
}

const headSchema = z.object({
  id: z.string(),
  priority: z.number().int().min(0).max(9).optional(),
  headers: z.array(z.tuple([z.string(), z.string()])).optional(),
  deliveries: z.number().int().nonnegative().optional(),
  lost: z.array(z.string()).optional(),
  due: z.number().optional(),
  reason: z.string().optional(),
  diedAt: z.number().optional(),
  format: z.number().int().optional(),
})
/** The first line of an envelope. Headers are pairs, because `__proto__` is special in JSON objects. */
type Head = z.infer<typeof headSchema>

const NO_HEADERS: Headers = Object.freeze(headersOf([]))

/**
 * Where a job goes and what is sent. `new`: the job was never stored. `copy`: the server may still hold the job under its old
 * unique, so the copy gets a unique that was never used. `call`: the submitter waits for the job, which is new.
 */
export function encodeJob(queue: string, job: GearmanJob, kind: 'new' | 'copy' | 'call'): Submission {
  const level = levelOf(job.priority)
  const packet = (kind === 'call' ? FOREGROUND : BACKGROUND)[level]
  const target = targetOf(queue, job)
  const unique = (kind === 'call' ? MARK.call : MARK[level]) + job.id
  if (kind !== 'copy' && isPlain(job, unique)) return { packet, ...target, unique, workload: job.body }
  const isAsStored = job.unknownFormat !== undefined && target.functionName === queue
  return {
    packet,
    ...target,
    // No background job may ever have the unique of a call.
    unique: kind === 'call' ? MARK.call + freshUnique() : freshUnique(),
    workload: isAsStored ? job.body : encodeEnvelope(job),
  }
}

function targetOf(queue: string, { death, dueMs }: GearmanJob): Pick<Submission, 'functionName' | 'atMs'> {
  if (death !== undefined) return { functionName: deadFunction(queue) }
  if (dueMs === undefined) return { functionName: queue }
  const atMs = slotOf(dueMs, Date.now())
  return { functionName: delayedFunction(queue, atMs), atMs }
}

/** Never throws: a workload that is no envelope is a body. `body` is a view into the workload. */
export function decodeJob(unique: string, workload: Buffer): ReceivedJob {
  const { mark = '', id = '' } = MARKED.exec(unique)?.groups ?? {}
  const isCall = mark === '='
  const priority = PRIORITY[LEVEL[mark] ?? 'normal']
  const plain = { id, headers: NO_HEADERS, body: workload, priority, deliveryCount: 0, isCall }
  const version = versionOf(workload)
  if (version === undefined) return plain
  if (version !== FORMAT) return { ...plain, unknownFormat: version }
  return { ...plain, ...decodeEnvelope(workload) }
}

/** Whether one of our programs submitted the job of this unique. */
export function isOurs(unique: string): boolean {
  return unique.startsWith('zyq')
}

/** Whether a server finds the job of this unique. `-` stands for the payload. */
export function isAskable(unique: string): boolean {
  return unique !== '' && unique !== '-'
}

/** Whether the job needs no envelope. */
function isPlain(job: GearmanJob, unique: string): boolean {
  return (
    job.dueMs === undefined &&
    job.death === undefined &&
    job.deliveryCount === 0 &&
    job.body.length > 0 &&
    unique.length <= MAX_UNIQUE_BYTES &&
    versionOf(job.body) === undefined &&
    Object.keys(job.headers).length === 0
  )
}

/** The version of an envelope. The first byte tells nearly all bodies apart. */
function versionOf(workload: Uint8Array): number | undefined {
  if (workload[0] !== HASH) return undefined
  const prefix = Buffer.from(workload.buffer, workload.byteOffset, Math.min(MAX_PREFIX_BYTES, workload.byteLength))
  const [, version] = ENVELOPE.exec(prefix.toString('latin1')) ?? []
  return version === undefined ? undefined : Number(version)
}

function encodeEnvelope(job: GearmanJob): Uint8Array {
  const { id, priority, deliveryCount, lost = [], dueMs, death, unknownFormat } = job
  const headers = Object.entries(job.headers)
  const head: Head = {
    id,
    ...(priority === PRIORITY.normal ? {} : { priority }),
    ...(headers.length === 0 ? {} : { headers }),
    ...(deliveryCount === 0 ? {} : { deliveries: deliveryCount }),
    ...(lost.length === 0 ? {} : { lost: [...lost] }),
    ...(dueMs === undefined ? {} : { due: dueMs }),
    ...(death === undefined ? {} : { reason: death.reason, diedAt: death.atMs }),
    ...(unknownFormat === undefined ? {} : { format: unknownFormat }),
  }
  return Buffer.concat([Buffer.from(`#zyq${FORMAT} ${JSON.stringify(head)}\n`), job.body])
}

/** `undefined` if the rest of the workload is no envelope: another program may send such a prefix. */
function decodeEnvelope(workload: Buffer): GearmanJob | undefined {
  const end = workload.subarray(0, MAX_HEAD_BYTES).indexOf(LINE_FEED)
  if (end < 0) return undefined
  try {
    const head = headSchema.parse(JSON.parse(workload.toString('utf8', workload.indexOf(' ') + 1, end)))
    const { id, priority = PRIORITY.normal, headers = [], deliveries = 0, lost = [], due, reason, diedAt = 0 } = head
    return {
      id,
      headers: headersOf(headers),
      body: workload.subarray(end + 1),
      priority,
      deliveryCount: deliveries,
      lost,
      dueMs: due,
      death: reason === undefined ? undefined : { reason, atMs: diedAt },
      unknownFormat: head.format,
    }
  } catch {
    return undefined
  }
}

/** Without a prototype, so that a header may be named `constructor`. */
function headersOf(pairs: Iterable<readonly [string, string]>): Headers {
  const headers: Record<string, string> = Object.create(null)
  for (const [name, value] of pairs) headers[name] = value
  return headers
}

/** Begins with the time, so that no two runs of a process have the same. */
const RUN = `zyq.${Date.now().toString(36)}.${randomBytes(9).toString('base64url')}.`
let uniques = 0

/** A unique that was never used before. */
export function freshUnique(): string {
  return RUN + (uniques++).toString(36)
}

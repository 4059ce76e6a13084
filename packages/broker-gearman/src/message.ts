/**
 * What a job is on the wire: a unique and a workload.
 *
 * If a job is only an id and a body, the workload is the body, as every Gearman program writes and reads it, and the unique is
 * a mark and the id. The mark says that the job is ours, its priority, and whether its submitter waits: a worker is not told by
 * gearmand. Otherwise the workload is an envelope: `#zyq1 `, the rest as one line of JSON (`Head`), and the body behind it as it
 * is. JSON never begins with `#`, so neither is taken for the other.
 *
 * A job without a mark and without an envelope is foreign: another program has submitted it. Its unique is not its id, because
 * other programs use a unique again.
 */
import { Buffer } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import type { Headers } from '@zyqueue/core/broker'
import { z } from 'zod'
import { PACKET } from './connection/protocol.ts'

/** gearmand keeps 63 bytes of a unique, and takes two jobs of one for the same. */
export const MAX_UNIQUE_BYTES = 63

const MAGIC = Buffer.from('#zyq1 ')
const LINE_FEED = 10
/** A head is headers and a reason: where no line ends so far on, it is no envelope. */
const MAX_HEAD_BYTES = 16 * 1024 * 1024

/** gearmand's three queues of a function. */
export type Level = 'high' | 'normal' | 'low'

export function levelOf(priority: number): Level {
  if (priority >= 7) return 'high'
  return priority >= 4 ? 'normal' : 'low'
}

/** A priority of the middle of each level, for jobs that do not tell their own; they are those that core gives these names. */
const PRIORITY: Readonly<Record<Level, number>> = { high: 7, normal: 4, low: 1 }

const MARK = { high: 'zyq+', normal: 'zyq:', low: 'zyq-', call: 'zyq=' } as const
const MARKED = /^zyq(?<mark>[-+:=])(?<id>.+)$/s
const LEVEL: Readonly<Record<string, Level>> = { '+': 'high', '-': 'low' }

export interface StoredJob {
  readonly id: string
  readonly headers: Headers
  readonly body: Uint8Array
  /** 0 to 9. */
  readonly priority: number
  /** How many owners it has lost. */
  readonly deliveryCount: number
  /** The keys of the charges that were counted before: they may be there still. */
  readonly charges?: readonly string[]
  /** When it is due, in ms since 1970, where it is delayed. */
  readonly dueMs?: number | undefined
  /** Where it is a dead letter. */
  readonly death?: { readonly reason: string; readonly atMs: number } | undefined
}

/** What a workload and a unique say. The id of a foreign job is empty: see `foreign-id.ts`. */
export interface ReceivedJob extends StoredJob {
  /** Whether it is a call of ours, whose submitter waits for its end. */
  readonly isCall: boolean
}

const headSchema = z.object({
  id: z.string(),
  priority: z.number().int().min(0).max(9).optional(),
  headers: z.array(z.tuple([z.string(), z.string()])).optional(),
  deliveries: z.number().int().nonnegative().optional(),
  charges: z.array(z.string()).optional(),
  due: z.number().optional(),
  reason: z.string().optional(),
  diedAt: z.number().optional(),
})
/** The first line of an envelope. Headers are pairs, since JSON objects have a word of their own for `__proto__`. */
type Head = z.infer<typeof headSchema>

const NO_HEADERS: Headers = Object.freeze(headersOf([]))

export interface Wire {
  readonly unique: string
  readonly workload: Uint8Array
}

/** A job for a function where nobody has submitted it before: its id, marked, is its unique. */
export function encodeFirst(job: StoredJob): Wire {
  const unique = MARK[levelOf(job.priority)] + job.id
  if (!isPlain(job, unique)) return { unique: freshUnique(), workload: encodeEnvelope(job) }
  return { unique, workload: job.body }
}

/** A job that somebody waits for. Its unique is marked, so that no background job ever has the same. */
export function encodeCall(job: StoredJob): Wire {
  const unique = MARK.call + job.id
  if (!isPlain(job, unique)) return { unique: MARK.call + freshUnique(), workload: encodeEnvelope(job) }
  return { unique, workload: job.body }
}

/**
 * A job that is stored anew while the server still has it under its old unique, or beside what others know of it: under a
 * unique that was never used.
 */
export function encodeAgain(job: StoredJob): Wire {
  return { unique: freshUnique(), workload: encodeEnvelope(job) }
}

/** Never throws: what is no envelope of ours is a body. `body` is a view into the workload. */
export function decodeJob(unique: string, workload: Buffer): ReceivedJob {
  const { mark = '', id: markedId = '' } = MARKED.exec(unique)?.groups ?? {}
  const isCall = mark === '='
  const envelope = startsEnvelope(workload) ? decodeEnvelope(workload) : undefined
  if (envelope === undefined) {
    return {
      id: markedId,
      headers: NO_HEADERS,
      body: workload,
      priority: PRIORITY[LEVEL[mark] ?? 'normal'],
      deliveryCount: 0,
      isCall,
    }
  }
  const { head, body } = envelope
  const { id, priority = PRIORITY.normal, headers, deliveries = 0, charges = [], due, reason, diedAt = 0 } = head
  return {
    id,
    headers: headers === undefined ? NO_HEADERS : headersOf(headers),
    body,
    priority,
    deliveryCount: deliveries,
    charges,
    dueMs: due,
    death: reason === undefined ? undefined : { reason, atMs: diedAt },
    isCall,
  }
}

/** The packet that submits a background job of this priority. */
export function backgroundPacket(priority: number): number {
  const packets = { high: PACKET.SUBMIT_JOB_HIGH_BG, normal: PACKET.SUBMIT_JOB_BG, low: PACKET.SUBMIT_JOB_LOW_BG }
  return packets[levelOf(priority)]
}

/** The packet that submits a job that its client waits for. */
export function foregroundPacket(priority: number): number {
  const packets = { high: PACKET.SUBMIT_JOB_HIGH, normal: PACKET.SUBMIT_JOB, low: PACKET.SUBMIT_JOB_LOW }
  return packets[levelOf(priority)]
}

/** Whether one of our programs has submitted the job of this unique. */
export function isOurs(unique: string): boolean {
  return unique.startsWith('zyq')
}

/** Whether a server knows which job is meant by this unique. `-` stands for the payload. */
export function isAskable(unique: string): boolean {
  return unique !== '' && unique !== '-'
}

export function isMessageId(id: string): boolean {
  return id.length <= MAX_UNIQUE_BYTES && /^[\x20-\x7e]+$/.test(id)
}

function isPlain(job: StoredJob, unique: string): boolean {
  return (
    job.dueMs === undefined &&
    job.death === undefined &&
    job.deliveryCount === 0 &&
    job.body.length > 0 &&
    unique.length <= MAX_UNIQUE_BYTES &&
    !startsEnvelope(job.body) &&
    isEmpty(job.headers)
  )
}

function isEmpty(headers: Headers): boolean {
  for (const _ in headers) return false
  return true
}

function encodeEnvelope({
  id,
  headers,
  body,
  priority,
  deliveryCount,
  charges = [],
  dueMs,
  death,
}: StoredJob): Uint8Array {
  const pairs = Object.entries(headers)
  const head: Head = {
    id,
    ...(priority === PRIORITY.normal ? {} : { priority }),
    ...(pairs.length === 0 ? {} : { headers: pairs }),
    ...(deliveryCount === 0 ? {} : { deliveries: deliveryCount }),
    ...(charges.length === 0 ? {} : { charges: [...charges] }),
    ...(dueMs === undefined ? {} : { due: dueMs }),
    ...(death === undefined ? {} : { reason: death.reason, diedAt: death.atMs }),
  }
  return Buffer.concat([MAGIC, Buffer.from(`${JSON.stringify(head)}\n`), body])
}

function startsEnvelope(workload: Uint8Array): boolean {
  // The first byte tells nearly all others apart.
  return workload[0] === MAGIC[0] && MAGIC.every((byte, index) => workload[index] === byte)
}

function decodeEnvelope(workload: Buffer): { readonly head: Head; readonly body: Buffer } | undefined {
  const end = workload.subarray(0, MAX_HEAD_BYTES).indexOf(LINE_FEED)
  if (end < 0) return undefined
  try {
    const head = headSchema.parse(JSON.parse(workload.toString('utf8', MAGIC.length, end)))
    return { head, body: workload.subarray(end + 1) }
  } catch {
    // A stranger's job that looks like an envelope: it is delivered as it is, and core says what is wrong with it.
    return undefined
  }
}

/** Without a prototype, so that a header named `constructor` is just that. */
function headersOf(pairs: Iterable<readonly [string, string]>): Headers {
  const headers: Record<string, string> = Object.create(null)
  for (const [name, value] of pairs) headers[name] = value
  return headers
}

/** Begins with the time, so that no two runs of a process have the same. */
const RUN = `zyq.${Date.now().toString(36)}.${randomBytes(9).toString('base64url')}.`
let uniques = 0

/** A text that was never used before. */
export function freshUnique(): string {
  return RUN + (uniques++).toString(36)
}

/**
 * Counts lost deliveries. gearmand gives the job of a dead worker to the next one and does not say how often it has done so. But
 * a supervisor knows which jobs its dead process was running, and leaves a note about each on every server, as a job of a function
 * that no worker serves. Consumers keep a copy of all notes, which are few, and count those of a job when they get it. A note
 * is deleted when a consumer that knew it has settled its job.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LostDelivery } from '@zyqueue/core/broker'
import { z } from 'zod'
import { PACKET } from '../connection/protocol.ts'
import { LOST_FUNCTION } from '../functions.ts'
import type { GearmanServer } from '../gearman-server.ts'
import type { ReceivedJob, Submission } from '../message.ts'
import { lossKeyOf } from './foreign-id.ts'
import { takeAndReturn } from './take-and-return.ts'

/** The version of the format of notes. */
const NOTE_FORMAT = 1
/** After this time a consumer that did not know the note has settled its job: the note is deleted. */
const MAX_AGE_MS = 30 * 24 * 60 * 60 * 1000

/** How often the notes are read until all were seen, and the longest pause between two times. Notes that were seen once count. */
const MAX_READS = 40
const MAX_PAUSE_MS = 40
/** Room for notes that were added after they were counted. */
const MARGIN = 10_000

const noteSchema = z.object({
  v: z.literal(NOTE_FORMAT),
  /** The id of the job, or what the ids of a foreign job have in common. */
  job: z.string(),
  /** Distinguishes the losses of one job. */
  key: z.string(),
  /** When the delivery was lost, in ms since 1970. */
  at: z.number(),
  headers: z.record(z.string(), z.string()).optional(),
})
export type LostDeliveryNote = z.infer<typeof noteSchema>

/** Packets that store the notes. Those of one owner and job are always the same, so that the loss counts once. */
export function encodeLostDeliveries(consumerId: string, lost: readonly LostDelivery[]): readonly Submission[] {
  return lost.map(({ id, headers }) => {
    const job = lossKeyOf(id)
    const note: LostDeliveryNote = {
      v: NOTE_FORMAT,
      job,
      key: hash(consumerId).slice(0, 12),
      at: Date.now(),
      ...(headers === undefined ? {} : { headers: { ...headers } }),
    }
    return {
      packet: PACKET.SUBMIT_JOB_BG,
      functionName: LOST_FUNCTION,
      unique: `zyq.lost.${hash(`${consumerId} ${job}`)}`,
      workload: Buffer.from(JSON.stringify(note)),
    }
  })
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 40)
}

/** How many notes a server had when they were read, and the notes of each job. */
interface Copy {
  readonly count: number
  readonly byJob: ReadonlyMap<string, readonly LostDeliveryNote[]>
}

/** A consumer's copy of the notes on its servers. */
export class LostDeliveries {
  readonly #copies = new Map<GearmanServer, Copy>()
  readonly #settled = new Set<string>()
  #deleting: Promise<void> | undefined

  /** The notes of a job, the oldest first. Each comes once, although every server may have it. */
  of(jobId: string): readonly LostDeliveryNote[] {
    if (this.#copies.size === 0) return []
    const job = lossKeyOf(jobId)
    const found = [...this.#copies.values()].flatMap(({ byJob }) => byJob.get(job) ?? [])
    const byKey = new Map(found.map((note) => [note.key, note]))
    return [...byKey.values()].toSorted((a, b) => a.at - b.at)
  }

  /** Reads the notes of a server again if their number has changed. Rejects if it fails. */
  async refresh(server: GearmanServer, count: number): Promise<void> {
    if ((this.#copies.get(server)?.count ?? 0) === count) return
    if (count === 0) {
      this.#copies.delete(server)
      return
    }
    const found = new Map<string, LostDeliveryNote>()
    let deleted = 0
    let unreadable = 0
    for (let reads = 0; found.size + deleted + unreadable < count && reads < MAX_READS; reads++) {
      // Other consumers read at the same time, and hold some of the notes.
      if (reads > 0) await sleep(Math.random() * MAX_PAUSE_MS, undefined, { ref: false, signal: server.signal })
      unreadable = 0
      deleted += await takeAndReturn(server, [LOST_FUNCTION], count + MARGIN, (job) => {
        const note = parseNote(job)
        if (note === undefined) {
          unreadable++
          return 'keep'
        }
        if (note.at < Date.now() - MAX_AGE_MS) return 'delete'
        found.set(`${note.job} ${note.key}`, note)
        return 'keep'
      })
    }
    const byJob = new Map<string, LostDeliveryNote[]>()
    for (const note of found.values()) byJob.set(note.job, [...(byJob.get(note.job) ?? []), note])
    this.#copies.set(server, { count: found.size + unreadable, byJob })
  }

  /** Deletes the notes of these jobs, which are settled. */
  settle(jobIds: readonly string[]): void {
    for (const id of jobIds) if (this.of(id).length > 0) this.#settled.add(lossKeyOf(id))
    if (this.#settled.size > 0) this.#deleting ??= this.#delete()
  }

  /** Resolves when no deletion is pending. */
  async flush(): Promise<void> {
    await this.#deleting
  }

  /** Never rejects. If a note stays, a copy of its job knows its key, and it is deleted for its age in the end. */
  async #delete(): Promise<void> {
    while (this.#settled.size > 0) {
      const jobs = new Set(this.#settled)
      this.#settled.clear()
      for (const [server, { count, byJob }] of this.#copies) {
        if (![...jobs].some((job) => byJob.has(job))) continue
        await takeAndReturn(server, [LOST_FUNCTION], count + MARGIN, (job) => {
          const note = parseNote(job)
          return note !== undefined && jobs.has(note.job) ? 'delete' : 'keep'
        }).catch(() => 0)
      }
    }
    this.#deleting = undefined
  }
}

/** `undefined` if this version of the adapter cannot read the note: another one may. */
function parseNote({ body }: ReceivedJob): LostDeliveryNote | undefined {
  try {
    return noteSchema.parse(JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString()))
  } catch {
    return undefined
  }
}

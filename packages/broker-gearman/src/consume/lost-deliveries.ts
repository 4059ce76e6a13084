/**
 * Charges: what is known of owners that died. gearmand gives the job of a dead worker to the next one and does not tell how
 * often it has done so; but a supervisor knows which jobs its dead process was running, and leaves a charge for each on
 * every server, as a job of a function that nobody serves. Consumers keep a copy of all charges, which are few, and count those of a job when
 * they get it. A charge is deleted when its job has been settled by somebody who knew of it.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Charge } from '@zyqueue/core/broker'
import { z } from 'zod'
import { chargeKeyOf } from './foreign-id.ts'
import { LOST_FUNCTION } from '../functions.ts'
import { takeAndReturn } from './take-and-return.ts'
import { PACKET } from '../connection/protocol.ts'
import type { GearmanServer } from '../connection/gearman-server.ts'
import type { Submission } from '../publish/publish.ts'
import type { ReceivedJob } from '../message.ts'

/** A job that was charged and is not settled after so long was settled by one who did not know of it. */
const FORGET_MS = 30 * 24 * 60 * 60 * 1000

/** How often the charges are read until all are seen, and how long between two times, in ms, at most. What was seen once counts. */
const READ_TRIES = 40
const READ_PAUSE_MS = 40
/** How many may have been added since they were counted, and are to be seen too. */
const MORE = 10_000

const chargeSchema = z.object({
  /** The job's id, or of a foreign one what its ids have in common. */
  job: z.string(),
  /** Tells this loss from the others of the same job. */
  key: z.string(),
  at: z.number(),
  headers: z.record(z.string(), z.string()).optional(),
})
export type LostDeliveryNote = z.infer<typeof chargeSchema>

/** What charges jobs whose owner is gone. For the same owner and job it is the same each time, so that it counts once. */
export function chargesOf(consumerId: string, charged: readonly Charge[]): readonly Submission[] {
  return charged.map(({ id, headers }) => {
    const charge: LostDeliveryNote = {
      job: chargeKeyOf(id),
      key: hash(consumerId).slice(0, 12),
      at: Date.now(),
      ...(headers === undefined ? {} : { headers: { ...headers } }),
    }
    return {
      functionName: LOST_FUNCTION,
      packet: PACKET.SUBMIT_JOB_BG,
      unique: `zyq.charge.${hash(`${consumerId} ${chargeKeyOf(id)}`)}`,
      workload: Buffer.from(JSON.stringify(charge)),
    }
  })
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 40)
}

/** A consumer's copy of the charges on its servers. */
export class LostDeliveries {
  readonly #byServer = new Map<
    GearmanServer,
    { readonly count: number; readonly byJob: ReadonlyMap<string, readonly LostDeliveryNote[]> }
  >()
  readonly #settled = new Set<string>()
  #deleting: Promise<void> | undefined

  /** Those of a job, in the order in which they were made; each once, although every server may have it. */
  of(jobId: string): readonly LostDeliveryNote[] {
    if (this.#byServer.size === 0) return []
    const job = chargeKeyOf(jobId)
    const found = [...this.#byServer.values()].flatMap(({ byJob }) => byJob.get(job) ?? [])
    const byKey = new Map(found.map((charge) => [charge.key, charge]))
    return [...byKey.values()].toSorted((a, b) => a.at - b.at)
  }

  /** Makes the copy of a server's charges anew where it has another number of them than the copy. Rejects where it cannot. */
  async refresh(server: GearmanServer, count: number): Promise<void> {
    if ((this.#byServer.get(server)?.count ?? 0) === count) return
    if (count === 0) {
      this.#byServer.delete(server)
      return
    }
    const found = new Map<string, LostDeliveryNote>()
    let deleted = 0
    for (let tries = 0; found.size + deleted < count && tries < READ_TRIES; tries++) {
      // Fewer than there are: others look at the same moment, and hold what they see for a moment.
      if (tries > 0) await sleep(Math.random() * READ_PAUSE_MS, undefined, { ref: false, signal: server.signal })
      deleted += await takeAndReturn(server, [LOST_FUNCTION], count + MORE, (job) => {
        const charge = parse(job)
        if (charge === undefined || charge.at < Date.now() - FORGET_MS) return 'delete'
        found.set(`${charge.job} ${charge.key}`, charge)
        return 'keep'
      })
    }
    const byJob = new Map<string, LostDeliveryNote[]>()
    for (const charge of found.values()) byJob.set(charge.job, [...(byJob.get(charge.job) ?? []), charge])
    this.#byServer.set(server, { count: found.size, byJob })
  }

  /** Has the charges of these jobs deleted: they are settled, and what was known of them is in what was stored. */
  settle(jobIds: readonly string[]): void {
    for (const id of jobIds) if (this.of(id).length > 0) this.#settled.add(chargeKeyOf(id))
    if (this.#settled.size > 0) this.#deleting ??= this.#delete()
  }

  /** Resolves when what was settled is deleted, as far as it can be. */
  async idle(): Promise<void> {
    await this.#deleting
  }

  /** Never rejects: a charge that stays is known by its key where its job comes again, and forgotten in the end. */
  async #delete(): Promise<void> {
    while (this.#settled.size > 0) {
      const jobs = new Set(this.#settled)
      this.#settled.clear()
      for (const [server, { count, byJob }] of this.#byServer) {
        if (![...jobs].some((job) => byJob.has(job))) continue
        const judge = (job: ReceivedJob) => {
          const charge = parse(job)
          return charge === undefined || jobs.has(charge.job) ? 'delete' : 'keep'
        }
        await takeAndReturn(server, [LOST_FUNCTION], count + MORE, judge).catch(() => 0)
      }
    }
    this.#deleting = undefined
  }
}

function parse({ body }: ReceivedJob): LostDeliveryNote | undefined {
  try {
    return chargeSchema.parse(JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString()))
  } catch {
    return undefined
  }
}

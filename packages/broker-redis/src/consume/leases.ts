/** Leases of consumers. Each queue of a consumer has its own record of the lease, so that the scripts of the queue can check it. */
import type { ClientInfo, ConsumeOptions, Headers } from '@zyqueue/core/broker'
import { z } from 'zod'
import type { Argument } from '../connection/client.ts'
import type { QueueKeys } from '../keys.ts'
import { emptyHeaders, encodeMessage, readMessage } from '../message.ts'
import { integer, pairs, text } from '../connection/replies.ts'
import { endLease, recordWorker, openLease, renewLease } from '../scripts/lease.ts'
import type { Servers } from '../connection/servers.ts'

/** The stored record of a consumer. */
const worker = z.object({
  /** The version of this format. */
  version: z.literal(1).default(1),
  client: z.object({ name: z.string(), host: z.string(), pid: z.number() }),
  queues: z.array(z.string()),
  sinceMs: z.number(),
})

export interface WorkerRecord {
  readonly version: 1
  readonly client: ClientInfo
  readonly queues: readonly string[]
  readonly sinceMs: number
}

/** Undefined if another program or a newer version wrote the record. */
export function readRecord(json: string): WorkerRecord | undefined {
  try {
    return worker.safeParse(JSON.parse(json)).data
  } catch {
    return undefined
  }
}

export class Leases {
  readonly #servers: Servers

  constructor(servers: Servers) {
    this.#servers = servers
  }

  async open(queues: readonly QueueKeys[], { consumerId, leaseMs, client }: ConsumeOptions): Promise<void> {
    const groups = this.#servers
      .groupBySlot(queues)
      .map((group) => group.flatMap((keys) => leaseKeys(keys, consumerId)))
    await Promise.all(groups.map((keys) => this.#servers.run(openLease, keys, [consumerId, leaseMs])))
    const record: WorkerRecord = { version: 1, client, queues: queues.map(({ queue }) => queue), sinceMs: Date.now() }
    await this.#servers.run(recordWorker, [this.#servers.keys.workers], [consumerId, JSON.stringify(record)])
  }

  /** The queues in which a consumer has leases. Undefined if there is no record of the consumer. */
  async queuesOf(consumerId: string): Promise<readonly QueueKeys[] | undefined> {
    const record = await this.#servers.command('HGET', this.#servers.keys.workers, consumerId)
    const queues = record === null ? undefined : readRecord(text(record))?.queues
    return queues?.map((name) => this.#servers.keys.of(name))
  }

  /** Extends the lease; resolves to false if it is no longer valid in one of the queues. */
  async renew(consumerId: string, queues: readonly QueueKeys[], leaseMs: number): Promise<boolean> {
    const groups = this.#servers.groupBySlot(queues).map((group) => group.map(({ leases }) => leases))
    const replies = await Promise.all(groups.map((keys) => this.#servers.run(renewLease, keys, [consumerId, leaseMs])))
    return replies.every((reply) => integer(reply) === 1)
  }

  /** Ends the lease in these queues and resolves to the number of jobs that are ready again. `endLease` explains the reasons. */
  async end(
    consumerId: string,
    queues: readonly QueueKeys[],
    reason: 'expired' | 'closed' | 'orphaned' | 'reclaimed',
    replacements: ReadonlyMap<QueueKeys, readonly Argument[]> = new Map(),
  ): Promise<number> {
    const counts = await Promise.all(
      queues.map((keys) => {
        const args = [consumerId, this.#servers.keys.wake, reason, ...(replacements.get(keys) ?? [])]
        return this.#servers.run(endLease, leaseKeys(keys, consumerId), args)
      }),
    )
    await this.#servers.command('HDEL', this.#servers.keys.workers, consumerId)
    return counts.reduce((sum: number, count) => sum + integer(count), 0)
  }

  /** Ends the lease of a consumer whose process has exited. The jobs of `lost` count one more delivery and get these headers. */
  async reclaim(consumerId: string, lost: ReadonlyMap<string, Headers>): Promise<void> {
    const queues = await this.queuesOf(consumerId)
    if (queues === undefined) return
    const replacements = (lost.size === 0 ? [] : queues).map(async (keys) => {
      const jobs = pairs(await this.#servers.command('HGETALL', keys.held(consumerId)))
      return [keys, jobs.flatMap(([tag, job]) => replacementOf(tag, job, lost))] as const
    })
    await this.end(consumerId, queues, 'reclaimed', new Map(await Promise.all(replacements)))
  }
}

/** The delivery number and the new message of a lost job; nothing for other jobs. */
function replacementOf(tag: Buffer, encoded: Buffer, lost: ReadonlyMap<string, Headers>): readonly Argument[] {
  const message = readMessage(encoded)
  const changes = message === undefined ? undefined : lost.get(message.id)
  if (message === undefined || changes === undefined) return []
  const headers = Object.assign(emptyHeaders(), message.headers, changes)
  return [tag, encodeMessage({ ...message, deliveries: message.deliveries + 1, headers })]
}

/** The keys that the scripts for the start and the end of a lease use. */
function leaseKeys({ leases, held, ready, sorted, waiters }: QueueKeys, consumerId: string): readonly string[] {
  return [leases, held(consumerId), ready, sorted, waiters]
}

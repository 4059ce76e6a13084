/** Leases: a small record in each queue of a consumer, so that the script that settles a job there sees whether its lease stands. */
import type { ClientInfo, ConsumeOptions, Headers } from '@zyqueue/core/broker'
import { z } from 'zod'
import type { Argument } from '../connection/client.ts'
import type { Keys, QueueKeys } from '../keys.ts'
import { encodeMessage, readMessage } from '../message.ts'
import { bytes, integer, list, text } from '../connection/replies.ts'
import { endLease, recordWorker, openLease, renewLease } from '../scripts/lease.ts'
import type { Servers } from '../connection/servers.ts'

/** What is noted of a consumer. */
const worker = z.object({
  client: z.object({ name: z.string(), host: z.string(), pid: z.number() }),
  queues: z.array(z.string()),
  sinceMs: z.number(),
})

export interface WorkerRecord {
  readonly client: ClientInfo
  readonly queues: readonly string[]
  readonly sinceMs: number
}

/** A note that another program has written over says nothing. */
export function readRecord(json: string): WorkerRecord | undefined {
  try {
    return worker.safeParse(JSON.parse(json)).data
  } catch {
    return undefined
  }
}

export class Leases {
  readonly #servers: Servers
  readonly #names: Keys

  constructor(servers: Servers, names: Keys) {
    this.#servers = servers
    this.#names = names
  }

  async open(queues: readonly QueueKeys[], { consumerId, leaseMs, client }: ConsumeOptions): Promise<void> {
    await Promise.all(
      this.#servers.groupBySlot(queues).map((group) =>
        this.#servers.run(
          openLease,
          group.flatMap(({ leases, held, ready, sorted, waiters }) => [
            leases,
            held(consumerId),
            ready,
            sorted,
            waiters,
          ]),
          [consumerId, leaseMs],
        ),
      ),
    )
    const note: WorkerRecord = { client, queues: queues.map(({ queue }) => queue), sinceMs: Date.now() }
    await this.#servers.run(recordWorker, [this.#names.workers], [consumerId, JSON.stringify(note)])
  }

  /** The queues that a consumer has leases in; undefined where none is known of it. */
  async queuesOf(consumerId: string): Promise<readonly QueueKeys[] | undefined> {
    const note = await this.#servers.command('HGET', this.#names.workers, consumerId)
    const queues = note === null ? undefined : readRecord(text(note))?.queues
    return queues?.map((name) => this.#names.of(name))
  }

  /** Whether the lease stood in all of the queues, and so was extended. */
  async renew(consumerId: string, queues: readonly QueueKeys[], leaseMs: number): Promise<boolean> {
    const replies = await Promise.all(
      this.#servers.groupBySlot(queues).map((group) =>
        this.#servers.run(
          renewLease,
          group.map(({ leases }) => leases),
          [consumerId, leaseMs],
        ),
      ),
    )
    return replies.every((reply) => integer(reply) === 1)
  }

  /** Ends the lease in these queues, for the reason that `scripts/lease.ts` says; resolves to how many jobs are ready again. */
  async end(
    consumerId: string,
    queues: readonly QueueKeys[],
    why: 'expired' | 'closed' | 'orphaned' | 'reclaimed',
    replacements: ReadonlyMap<QueueKeys, readonly Argument[]> = new Map(),
  ): Promise<number> {
    const counts = await Promise.all(
      queues.map((keys) => {
        const scriptKeys = [keys.leases, keys.held(consumerId), keys.ready, keys.sorted, keys.waiters]
        const replaced = replacements.get(keys) ?? []
        return this.#servers.run(endLease, scriptKeys, [consumerId, this.#names.wake, why, ...replaced])
      }),
    )
    await this.#servers.command('HDEL', this.#names.workers, consumerId)
    return counts.reduce((sum: number, count) => sum + integer(count), 0)
  }

  /** Ends the lease of a consumer whose process is gone; the charged jobs count one delivery more and get their headers. */
  async reclaim(consumerId: string, charged: ReadonlyMap<string, Headers>): Promise<void> {
    const queues = await this.queuesOf(consumerId)
    if (queues === undefined) return
    const replacements = new Map<QueueKeys, readonly Argument[]>()
    if (charged.size > 0) {
      await Promise.all(
        queues.map(async (keys) => {
          const entries = list(await this.#servers.command('HGETALL', keys.held(consumerId)))
          const changed: Argument[] = []
          for (let at = 0; at < entries.length; at += 2) {
            const tag = bytes(entries[at])
            if (tag.length === 0) continue
            const message = readMessage(bytes(entries[at + 1]))
            const headers = message === undefined ? undefined : charged.get(message.id)
            if (message === undefined || headers === undefined) continue
            const charge = { deliveries: message.deliveries + 1, headers: merge(message.headers, headers) }
            changed.push(tag, encodeMessage({ ...message, ...charge }))
          }
          replacements.set(keys, changed)
        }),
      )
    }
    await this.end(consumerId, queues, 'reclaimed', replacements)
  }
}

function merge(headers: Headers, changes: Headers): Headers {
  const result: Record<string, string> = Object.create(null)
  return Object.assign(result, headers, changes)
}

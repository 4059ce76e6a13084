import {
  BrokerError,
  type BrokerAdmin,
  type Finding,
  type QueueStats,
  type StoredJob,
  type WorkerStats,
} from '@zyqueue/core/broker'
import { rightsFindings, settingsFindings } from './check.ts'
import type { Client } from '../connection/client.ts'
import { RedisDeadLetters } from './dead-letters.ts'
import { errorCode } from '../errors.ts'
import type { QueueKeys } from '../keys.ts'
import { Leases, readRecord, type WorkerRecord } from '../consume/leases.ts'
import { readMessage, UNREADABLE } from '../message.ts'
import { bytes, chunks, integer, list, pairs, text, type Reply } from '../connection/replies.ts'
import { grant, type Rights } from '../connection/rights.ts'
import { cancel, countHeldJobs, queueState, browse, promote, purge } from '../scripts/admin.ts'
import type { Servers } from '../connection/servers.ts'

/** The number of jobs that one `cancel` or `promote` script checks. Workers run their scripts between two such scripts. */
const PORTION = 1000
/** The number of queues whose state is read at the same time. */
const QUEUES_PER_STEP = 100

interface QueueState {
  readonly ready: number
  readonly delayed: number
  readonly dead: number
  /** The number of jobs that each consumer holds, also if its lease has ended. */
  readonly held: ReadonlyMap<string, number>
  /** The consumers with a valid lease. */
  readonly alive: readonly string[]
  /** In ms since 1970. -1 if no job is ready. */
  readonly oldest: number
}

export class RedisAdmin implements BrokerAdmin {
  readonly deadLetters: RedisDeadLetters
  readonly #servers: Servers
  readonly #leases: Leases
  readonly #rights: Rights

  constructor(servers: Servers, rights: Rights) {
    this.#servers = servers
    this.#rights = rights
    this.#leases = new Leases(servers)
    this.deadLetters = new RedisDeadLetters(servers, (queue) => this.#find(queue))
  }

  async queues(names?: readonly string[]): Promise<readonly QueueStats[]> {
    const all = await this.#allStates(names)
    return [...all].map(([name, { ready, delayed, dead, held, alive, oldest }]) => ({
      name,
      ready,
      delayed,
      active: [...held.values()].reduce((sum, count) => sum + count, 0),
      dead,
      workers: alive.length,
      ...(oldest >= 0 && { oldestStoredAtMs: oldest }),
    }))
  }

  async workers(): Promise<readonly WorkerStats[]> {
    const records = await this.#workerRecords()
    const all = await this.#allStates()
    const counts = new Map<string, number>()
    for (const { held, alive } of all.values()) {
      for (const id of alive) counts.set(id, (counts.get(id) ?? 0) + (held.get(id) ?? 0))
    }
    return [...records].flatMap(([id, { client, queues, sinceMs: connectedAtMs }]) => {
      const active = counts.get(id)
      return active === undefined ? [] : [{ id, client, queues, active, connectedAtMs }]
    })
  }

  async purge(queue: string): Promise<number> {
    const { ready, sorted, delayed } = await this.#find(queue)
    return integer(await this.#servers.run(purge, [ready, sorted, delayed], []))
  }

  async jobs(queue: string, { limit }: { readonly limit: number }): Promise<readonly StoredJob[]> {
    const keys = await this.#find(queue)
    if (limit <= 0) return []
    const { held } = await this.#stateOf(keys)
    const holders = [...held].filter(([, count]) => count > 0).map(([id]) => keys.held(id))
    const hashes = await Promise.all(holders.map((key) => this.#servers.command('HGETALL', key)))
    const heldJobs = hashes.flatMap(pairs).filter(([tag]) => tag.length > 0)
    const active = heldJobs.map(([, job]) => toStoredJob(queue, 'active', job))
    const [before, listed, after, later] = list(
      await this.#servers.run(browse, [keys.ready, keys.sorted, keys.delayed], [limit]),
    )
    const ready = [before, listed, after].flatMap(list).map((job) => toStoredJob(queue, 'ready', bytes(job)))
    const delayed = pairs(later).map(([job, due]) => ({
      ...toStoredJob(queue, 'delayed', job),
      readyAtMs: Number(due.toString()),
    }))
    return [...active, ...ready, ...delayed].slice(0, limit)
  }

  /** Checks all waiting jobs, because Redis has no index of their ids. */
  async cancel(queue: string, ids: readonly string[]): Promise<number> {
    const { ready, sorted, delayed } = await this.#find(queue)
    let cancelled = 0
    for (const key of [ready, sorted, delayed]) {
      cancelled += await checkAll(ids.length - cancelled, (before) =>
        this.#servers.run(cancel, [key], [before, PORTION, ...ids]),
      )
    }
    return cancelled
  }

  /** Checks all delayed jobs, because Redis has no index of their ids. */
  async promote(queue: string, ids: readonly string[]): Promise<number> {
    const { delayed, sorted, waiters, leases } = await this.#find(queue)
    const { wake } = this.#servers.keys
    return checkAll(ids.length, (before) =>
      this.#servers.run(promote, [delayed, sorted, waiters, leases], [wake, before, PORTION, ...ids]),
    )
  }

  /** Makes jobs ready that are held without a lease, and removes consumers without a lease. */
  async compact(queue: string): Promise<number> {
    const keys = await this.#find(queue)
    const { alive } = await this.#stateOf(keys)
    const prefix = keys.held('')
    const owners = (await this.#scanKeys(prefix)).map((key) => key.slice(prefix.length))
    const waiting = list(await this.#servers.command('SMEMBERS', keys.waiters)).map(text)
    const gone = new Set([...owners, ...waiting].filter((id) => !alive.includes(id)))
    const counts = await Promise.all([...gone].map((id) => this.#leases.end(id, [keys], 'orphaned')))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  async check(): Promise<readonly Finding[]> {
    const rights = await rightsFindings(this.#servers, this.#rights)
    const findings = await Promise.all(this.#servers.masters().map((client) => this.#settingsOf(client)))
    // The nodes of a cluster usually have the same settings, so one finding of each kind is enough.
    return [...new Map([...rights, ...findings.flat()].map((finding) => [finding.message, finding])).values()]
  }

  async version(): Promise<string> {
    const [client] = this.#servers.masters()
    const info = await infoOf(client)
    const valkey = info.get('valkey_version')
    return valkey === undefined ? `Redis ${info.get('redis_version') ?? '(unknown version)'}` : `Valkey ${valkey}`
  }

  async #settingsOf(client: Client): Promise<readonly Finding[]> {
    try {
      return settingsFindings(await infoOf(client))
    } catch (error) {
      if (errorCode(error) !== 'ZYQ_AUTH') throw error
      const { user } = this.#servers
      const message = `Cannot check the settings of the server: the user ${user} may not run INFO`
      return [{ level: 'note', message, remedy: grant(user, ['+info']) }]
    }
  }

  /** Rejects with `ZYQ_QUEUE_NOT_FOUND`. */
  async #find(queue: string): Promise<QueueKeys> {
    const known = await this.#servers.command('SISMEMBER', this.#servers.keys.queues, queue)
    if (known === 1) return this.#servers.keys.of(queue)
    throw new BrokerError('ZYQ_QUEUE_NOT_FOUND', `There is no queue "${queue}"`)
  }

  async #workerRecords(): Promise<ReadonlyMap<string, WorkerRecord>> {
    const records = new Map<string, WorkerRecord>()
    for (const [id, json] of pairs(await this.#servers.command('HGETALL', this.#servers.keys.workers))) {
      const record = readRecord(json.toString())
      if (record !== undefined) records.set(id.toString(), record)
    }
    return records
  }

  async #existingQueues(names?: readonly string[]): Promise<readonly string[]> {
    const { keys } = this.#servers
    if (names === undefined) return list(await this.#servers.command('SMEMBERS', keys.queues)).map(text)
    const known = await Promise.all(names.map((name) => this.#servers.command('SISMEMBER', keys.queues, name)))
    return names.filter((_, index) => known[index] === 1)
  }

  async #allStates(chosen?: readonly string[]): Promise<ReadonlyMap<string, QueueState>> {
    const names = [...new Set(await this.#existingQueues(chosen))].toSorted()
    const all: (readonly [string, QueueState])[] = []
    for (const some of chunks(names, QUEUES_PER_STEP)) {
      const states = some.map(async (name) => [name, await this.#stateOf(this.#servers.keys.of(name))] as const)
      all.push(...(await Promise.all(states)))
    }
    return new Map(all)
  }

  async #stateOf(keys: QueueKeys): Promise<QueueState> {
    const stateKeys = [keys.ready, keys.sorted, keys.delayed, keys.leases, keys.died]
    const [ready, delayed, dead, valid, expired, oldest] = list(await this.#servers.run(queueState, stateKeys, []))
    const alive = list(valid).map(text)
    const owners = [...alive, ...list(expired).map(text)]
    const counts = owners.length === 0 ? [] : list(await this.#servers.run(countHeldJobs, owners.map(keys.held), []))
    const held = new Map(owners.map((owner, index) => [owner, integer(counts[index])]))
    return {
      ready: integer(ready),
      delayed: integer(delayed),
      dead: integer(dead),
      held,
      alive,
      oldest: integer(oldest),
    }
  }

  async #scanKeys(prefix: string): Promise<readonly string[]> {
    const pattern = `${prefix.replaceAll(/[\\*?[\]^-]/g, String.raw`\$&`)}*`
    const found = new Set<string>()
    for (const client of this.#servers.masters()) {
      let cursor = '0'
      do {
        const [next, keys] = list(await client.command('SCAN', cursor, 'MATCH', pattern, 'COUNT', 1000))
        for (const key of list(keys)) found.add(text(key))
        cursor = text(next)
      } while (cursor !== '0')
    }
    return [...found]
  }
}

/**
 * Checks the jobs of one key in portions, until `most` were changed. `check` gets the number of jobs at the end that are checked
 * already, and answers with the numbers of checked and of changed jobs. Resolves to the number of changed jobs.
 */
async function checkAll(most: number, check: (before: number) => Promise<Reply>): Promise<number> {
  let [changed, before] = [0, 0]
  while (changed < most) {
    const reply = list(await check(before))
    const [checked, now] = [integer(reply[0]), integer(reply[1])]
    changed += now
    before += checked - now
    if (checked < PORTION) break
  }
  return changed
}

/** `INFO`: lines of a name, a colon and a value. */
async function infoOf(client: Client): Promise<ReadonlyMap<string, string>> {
  const lines = text(await client.command('INFO')).matchAll(/^([^:#\r\n]+):(.*)/gm)
  return new Map([...lines].map(([, name = '', value = '']) => [name, value]))
}

function toStoredJob(queue: string, state: StoredJob['state'], encoded: Buffer): StoredJob {
  const message = readMessage(encoded)
  if (message === undefined) return { id: UNREADABLE, queue, state, headers: {}, body: encoded, priority: 4 }
  const { id, headers, body, priority, storedAtMs } = message
  return { id, queue, state, headers, body, priority, storedAtMs }
}

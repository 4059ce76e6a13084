import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  BrokerError,
  type BrokerAdmin,
  type DeadLetter,
  type DeadLetters,
  type Finding,
  type QueueStats,
  type StoredJob,
  type WorkerStats,
} from '@zyqueue/core/broker'
import { integer, text } from './decode.ts'
import type { Database } from './database.ts'
import { lastDeath, listDead, purgeDead, requeueDead, type DeadLetterChoice } from './dead-letters.ts'
import type { Driver } from './driver.ts'
import { purgeWaiting } from './jobs.ts'
import { cancelJobs, listJobs, promoteJobs } from './browse.ts'
import type { Sql } from './sql.ts'
import { queueStatistics, workerStatistics } from './statistics.ts'

/** The most jobs that one transaction of `admin` changes, so that workers can write in between. */
const AT_ONCE = 2000

/** `f_type` of file systems that several hosts see (statfs(2)): NFS, SMB, CIFS, SMB2, AFS, Ceph, Lustre. */
const NETWORK_FILE_SYSTEMS = new Set([0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x5346414f, 0x00c36400, 0x0bd00bd0])

export class SqliteAdmin implements BrokerAdmin {
  readonly deadLetters: DeadLetters
  readonly #open: () => Database
  readonly #driverName: Driver['name']

  /** `open` returns the broker's database, or throws if there is none. */
  constructor(open: () => Database, driverName: Driver['name']) {
    this.#open = open
    this.#driverName = driverName
    this.deadLetters = {
      list: (queue, { limit }) => this.#listDead(queue, limit),
      requeue: (queue, ids) => this.#requeueDead(queue, ids),
      purge: (queue, ids) => this.#purgeDead(queue, ids),
    }
  }

  async queues(names?: readonly string[]): Promise<readonly QueueStats[]> {
    return this.#open().read((sql) => queueStatistics(sql, names))
  }

  async workers(): Promise<readonly WorkerStats[]> {
    return this.#open().read((sql) => workerStatistics(sql))
  }

  async purge(queue: string): Promise<number> {
    const database = this.#open()
    const id = await findQueue(database, queue)
    const newest = await database.read((sql) => integer(sql.first('SELECT coalesce(max(seq), 0) FROM job')?.[0]))
    return inPortions(database, (sql) => purgeWaiting(sql, id, newest, AT_ONCE))
  }

  async jobs(queue: string, { limit }: { readonly limit: number }): Promise<readonly StoredJob[]> {
    const database = this.#open()
    const id = await findQueue(database, queue)
    return database.read((sql) => listJobs(sql, id, queue, limit))
  }

  async cancel(queue: string, ids: readonly string[]): Promise<number> {
    const database = this.#open()
    const id = await findQueue(database, queue)
    return database.write((sql) => cancelJobs(sql, id, ids))
  }

  async promote(queue: string, ids: readonly string[]): Promise<number> {
    const database = this.#open()
    const id = await findQueue(database, queue)
    const promoted = await database.write((sql) => promoteJobs(sql, id, ids))
    if (promoted > 0) database.wakeFile.wake()
    return promoted
  }

  async check(): Promise<readonly Finding[]> {
    const database = this.#open()
    if (database.path === undefined) {
      return [
        {
          level: 'note',
          message: 'The queue is in memory: other processes do not see it, and its jobs end with this one',
          remedy: 'Use sqlite:PATH to keep them',
        },
      ]
    }
    const findings: Finding[] = []
    const mode = await database.journalMode()
    if (mode !== 'wal') {
      findings.push({
        level: 'warning',
        message: `SQLite journals with "${mode}" instead of "wal": every write waits for every reader`,
        remedy: 'Move the queue file to a local disk',
      })
    }
    if (NETWORK_FILE_SYSTEMS.has(statfsSync(dirname(database.path)).type)) {
      findings.push({
        level: 'problem',
        message: `The queue file is on a network file system, and SQLite's locks are not reliable there: ${database.path}`,
        remedy: 'Move it to a local disk, or use a broker that is a server',
      })
    }
    return findings
  }

  async version(): Promise<string> {
    const version = await this.#open().read((sql) => text(sql.first('SELECT sqlite_version()')?.[0]))
    return `SQLite ${version} (${this.#driverName})`
  }

  async #listDead(queue: string, limit: number): Promise<readonly DeadLetter[]> {
    const database = this.#open()
    const id = await findQueue(database, queue)
    return database.read((sql) => listDead(sql, id, queue, limit))
  }

  async #requeueDead(queue: string, ids: readonly string[] | undefined): Promise<number> {
    const database = this.#open()
    const choice = await choose(database, queue, ids)
    const requeued = await inPortions(database, (sql) => requeueDead(sql, choice, AT_ONCE))
    if (requeued > 0) database.wakeFile.wake()
    return requeued
  }

  async #purgeDead(queue: string, ids: readonly string[] | undefined): Promise<number> {
    const database = this.#open()
    const choice = await choose(database, queue, ids)
    return inPortions(database, (sql) => purgeDead(sql, choice, AT_ONCE))
  }
}

async function findQueue(database: Database, name: string): Promise<number> {
  const id = await database.read((sql) => database.findQueue(sql, name))
  if (id === undefined) throw new BrokerError('ZYQ_QUEUE_NOT_FOUND', `There is no queue "${name}"`)
  return id
}

async function choose(database: Database, name: string, ids: readonly string[] | undefined): Promise<DeadLetterChoice> {
  const queue = await findQueue(database, name)
  return { queue, ids, until: await database.read((sql) => lastDeath(sql, queue)) }
}

/** Calls `change`, each time in a transaction of its own, until it changes fewer than `AT_ONCE`. Resolves to the sum. */
async function inPortions(database: Database, change: (sql: Sql) => number): Promise<number> {
  for (let total = 0; ;) {
    const changed = await database.write(change)
    total += changed
    if (changed < AT_ONCE) return total
  }
}

/**
 * The limit: the driver of ZyQueue's adapter with the minimal work of a queue. Inserts, claims and deletes of a hundred rows per
 * statement, with as many statements per transaction as the adapter uses; WAL with full sync. No ids, headers, leases, delays or
 * priorities.
 */
import { createRequire } from 'node:module'
import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import type { Contestant, Payload, Session } from '../contestant.ts'

const ROWS = 100
const BATCH = 1_000

interface Statement {
  run(...parameters: readonly (string | number)[]): unknown
  all(...parameters: readonly (string | number)[]): readonly unknown[]
}

interface Connection {
  exec(sql: string): void
  prepare(sql: string): Statement
  close(): void
}

interface Driver {
  new (path: string): Connection
}

const job = z.object({ seq: z.number(), body: z.string() })
const counted = z.object({ jobs: z.number() })

export const contestant: Contestant = {
  async open(address) {
    const connection = new (driver())(address.slice('sqlite:'.length))
    connection.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    connection.exec(`
      CREATE TABLE IF NOT EXISTS job (seq INTEGER PRIMARY KEY, owner INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL);
      CREATE INDEX IF NOT EXISTS job_ready ON job (seq) WHERE owner = 0`)
    return session(connection)
  },
}

function driver(): Driver {
  const sqlite = process.getBuiltinModule('node:sqlite')
  return isNodeSqlite(sqlite) ? sqlite.DatabaseSync : libsql()
}

function isNodeSqlite(module: object | undefined): module is { DatabaseSync: Driver } {
  return module !== undefined && 'DatabaseSync' in module
}

function libsql(): Driver {
  const loaded: Driver = createRequire(import.meta.url)('libsql')
  return loaded
}

function session(connection: Connection): Session {
  const insertMany = connection.prepare(`INSERT INTO job (body) VALUES ${Array(ROWS).fill('(?)').join()}`)
  const insertOne = connection.prepare('INSERT INTO job (body) VALUES (?)')
  const claim = connection.prepare(
    `UPDATE job SET owner = ? WHERE seq IN (SELECT seq FROM job WHERE owner = 0 ORDER BY seq LIMIT ${ROWS}) RETURNING seq, body`,
  )
  const settle = connection.prepare('DELETE FROM job WHERE seq BETWEEN ? AND ? AND owner = ?')
  let gathered: string[] = []
  let flushed: Promise<void> | undefined

  function store(bodies: readonly string[]): void {
    transaction(() => {
      let stored = 0
      for (; bodies.length - stored >= ROWS; stored += ROWS) insertMany.run(...bodies.slice(stored, stored + ROWS))
      for (const body of bodies.slice(stored)) insertOne.run(body)
    })
  }

  function transaction<T>(work: () => T): T {
    connection.exec('BEGIN IMMEDIATE')
    const result = work()
    connection.exec('COMMIT')
    return result
  }

  /** Submits of one turn of the event loop are one transaction. */
  async function flush(): Promise<void> {
    await setImmediate()
    const bodies = gathered
    gathered = []
    flushed = undefined
    store(bodies)
  }

  return {
    submit(data) {
      gathered.push(JSON.stringify(data))
      return (flushed ??= flush())
    },
    async submitMany(payloads) {
      let batch: string[] = []
      for (const data of payloads) {
        batch.push(JSON.stringify(data))
        if (batch.length < BATCH) continue
        store(batch)
        batch = []
      }
      store(batch)
    },
    async work(handle) {
      let working = true
      async function loop(): Promise<void> {
        while (working) {
          const jobs = transaction(() => z.array(job).parse(claim.all(process.pid)))
          for (const { body } of jobs) await handle(JSON.parse(body) as Payload)
          const [first, last] = [jobs[0], jobs.at(-1)]
          if (first && last) transaction(() => settle.run(first.seq, last.seq, process.pid))
          await setImmediate()
        }
      }
      const ended = loop()
      return () => {
        working = false
        return ended
      }
    },
    async waiting() {
      return counted.parse(connection.prepare('SELECT count(*) AS jobs FROM job').all()[0]).jobs
    },
    async close() {
      connection.close()
    },
  }
}

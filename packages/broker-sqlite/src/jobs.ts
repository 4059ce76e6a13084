/** Moves jobs between `ready`, `delayed`, `held` and `dead`. The caller of each function holds the transaction. */
import { clamped, clampedTime, integer } from './decode.ts'
import type { SqlValue } from './driver.ts'
import { leaseNow, standsNow } from './lease-clock.ts'
import { encodeMessage, type StoredMessage } from './message.ts'
import type { Sql } from './sql.ts'

export interface NewJob {
  readonly queue: number
  readonly rank: number
  readonly delayMs: number
  readonly message: Uint8Array
}

/** The columns that a claim reads: seq, queue, rank, stored_at, deliveries, message. */
export type ClaimedRow = readonly SqlValue[]

export interface ClaimedRows {
  /** The number of rows of `ready` that were read, including rows whose job no longer exists. */
  readonly found: number
  readonly rows: readonly ClaimedRow[]
}

/** Above every limit of deliveries. The count stops here: beyond the largest integer, SQLite would refuse it. */
export const MAX_DELIVERIES = 1_000_000

/** Rows of one INSERT: enough to make the cost of the call small, few enough to prepare quickly. */
const INSERTS = [100, 10, 1].map((rows) => ({ rows, sql: insertOf(rows) }))
/** SQLite copies bound values, so messages above this number of bytes are inserted one by one. */
const LARGE_BYTES = 64 * 1024
const INSERTS_OF_LARGE = INSERTS.slice(-1)

function insertOf(rows: number): string {
  const values = Array.from({ length: rows }, (_, row) => `(?1 + ${row}, ?2, ?3, ?4, 0, ?${row + 5})`)
  return `INSERT INTO job (seq, queue, rank, stored_at, deliveries, message) VALUES ${values.join()}`
}

/** Stores jobs. Keeps their order within a queue and a rank. */
export function store(sql: Sql, jobs: readonly NewJob[], now: number): void {
  let seq = integer(sql.first('SELECT coalesce(max(seq), 0) + 1 FROM job')?.[0])
  for (const alike of groupSimilar(jobs)) {
    const [{ queue, rank, delayMs }] = alike
    const from = seq
    let stored = 0
    const inserts = alike.some(({ message }) => message.length > LARGE_BYTES) ? INSERTS_OF_LARGE : INSERTS
    for (const { rows, sql: insert } of inserts) {
      const statement = sql.prepare(insert)
      for (; alike.length - stored >= rows; stored += rows, seq += rows) {
        const parameters: SqlValue[] = [seq, queue, rank, now]
        for (let row = 0; row < rows; row++) parameters.push(alike[stored + row]?.message ?? null)
        statement.run(parameters)
      }
    }
    if (delayMs > 0) {
      const due = now + Math.ceil(delayMs)
      sql.run('INSERT INTO delayed SELECT queue, ?1, seq FROM job WHERE seq BETWEEN ?2 AND ?3', due, from, seq - 1)
    } else {
      sql.run('INSERT INTO ready SELECT queue, rank, seq FROM job WHERE seq BETWEEN ?1 AND ?2', from, seq - 1)
    }
  }
}

function groupSimilar(jobs: readonly NewJob[]): Iterable<[NewJob, ...NewJob[]]> {
  const groups = new Map<string, [NewJob, ...NewJob[]]>()
  for (const job of jobs) {
    const key = `${job.queue}/${job.rank}/${job.delayMs}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [job])
    else group.push(job)
  }
  return groups.values()
}

export interface NextWork {
  /** True if a job is ready or due, or a lease has expired. */
  readonly work: boolean
  /** When the next job is due or the next lease expires, in ms from now. */
  readonly nextMs: number
}

/** Reads without a lock whether a waiting consumer has work. */
export function nextWork(sql: Sql, queues: string): NextWork {
  const row = sql.first(
    `SELECT
      EXISTS (SELECT 1 FROM json_each(?1) q WHERE EXISTS (SELECT 1 FROM ready WHERE queue = q.value)),
      coalesce((SELECT ${clampedTime('min((SELECT min(due) FROM delayed WHERE queue = q.value))')} FROM json_each(?1) q), 9e15),
      coalesce((SELECT ${clampedTime('max(renewed)')} FROM lease), 0),
      coalesce((SELECT ${clampedTime('min(expires)')} FROM lease), 9e15)`,
    queues,
  )
  const [due, renewed, expires] = [integer(row?.[1]), integer(row?.[2]), integer(row?.[3])]
  const leaseMs = standsNow(renewed, expires) ? expires - leaseNow() : 0
  const nextMs = Math.min(due - Date.now(), leaseMs)
  return { work: integer(row?.[0]) === 1 || nextMs <= 0, nextMs }
}

/** The most delayed jobs of a queue that one transaction makes ready: a million jobs that are due at once must not block other writers. */
const PROMOTE_AT_ONCE = 1000

/** Makes due jobs ready, in the order of their seq. */
export function promoteDue(sql: Sql, queues: string, now: number): void {
  const withDue = sql.all(
    `SELECT q.value FROM json_each(?1) q
      WHERE EXISTS (SELECT 1 FROM delayed WHERE queue = q.value AND due <= ?2)`,
    queues,
    now,
  )
  for (const [column] of withDue) {
    const queue = integer(column)
    const last = sql.first(
      'SELECT due, seq FROM delayed WHERE queue = ?1 AND due <= ?2 ORDER BY due, seq LIMIT 1 OFFSET ?3',
      queue,
      now,
      PROMOTE_AT_ONCE - 1,
    )
    const [due, seq] = last === undefined ? [now + 1, 0] : [integer(last[0]), integer(last[1])]
    sql.run(
      `INSERT OR IGNORE INTO ready SELECT d.queue, j.rank, d.seq FROM delayed d JOIN job j ON j.seq = d.seq
        WHERE d.queue = ?1 AND (d.due, d.seq) <= (?2, ?3)`,
      queue,
      due,
      seq,
    )
    sql.run('DELETE FROM delayed WHERE queue = ?1 AND (due, seq) <= (?2, ?3)', queue, due, seq)
  }
}

/** The ids of the queues that have a ready job. */
export function withWork(sql: Sql, queues: string): readonly number[] {
  return sql
    .all('SELECT q.value FROM json_each(?1) q WHERE EXISTS (SELECT 1 FROM ready WHERE queue = q.value)', queues)
    .map((row) => integer(row[0]))
}

/**
 * Moves the first `max` ready jobs of a queue to `held`, under a lease. Deletes rows of `ready` whose job no longer exists.
 * The seq of the last row stays in SQL: it may be a number that JavaScript cannot hold.
 */
export function claim(sql: Sql, lease: number, queue: number, max: number): ClaimedRows {
  const rows = sql.all(
    `SELECT r.seq, r.queue, ${clamped('r.rank', 0, 9)}, ${clampedTime('j.stored_at')}, ${clamped('j.deliveries', 0, MAX_DELIVERIES)}, j.message
      FROM ready r LEFT JOIN job j ON j.seq = r.seq WHERE r.queue = ?1 ORDER BY r.rank, r.seq LIMIT ?2`,
    queue,
    max,
  )
  if (rows.length === 0) return { found: 0, rows }
  const last = rows.length - 1
  const upToLast = `queue = ?1 AND (rank, seq) <= (
    SELECT rank, seq FROM ready WHERE queue = ?1 ORDER BY rank, seq LIMIT 1 OFFSET ?2)`
  sql.run(
    `INSERT OR IGNORE INTO held SELECT ?3, seq FROM ready WHERE ${upToLast} AND seq IN (SELECT seq FROM job)`,
    queue,
    last,
    lease,
  )
  sql.run(`DELETE FROM ready WHERE ${upToLast}`, queue, last)
  return { found: rows.length, rows: rows.filter((row) => row[5] !== null) }
}

/** Ends the hold of a lease on jobs. The caller's next statement must put them elsewhere, or delete them. */
export function unhold(sql: Sql, lease: number, seqs: readonly number[]): void {
  sql.run('DELETE FROM held WHERE lease = ?1 AND seq IN (SELECT value FROM json_each(?2))', lease, JSON.stringify(seqs))
}

export function remove(sql: Sql, seqs: readonly number[]): void {
  sql.run('DELETE FROM job WHERE seq IN (SELECT value FROM json_each(?1))', JSON.stringify(seqs))
}

/** Puts jobs back into their old places. */
export function makeReady(sql: Sql, seqs: readonly number[]): void {
  sql.run(
    'INSERT OR IGNORE INTO ready SELECT queue, rank, seq FROM job WHERE seq IN (SELECT value FROM json_each(?1))',
    JSON.stringify(seqs),
  )
}

/** Makes a job ready at `due`, in ms since 1970. */
export function delay(sql: Sql, seq: number, due: number): void {
  sql.run('INSERT OR IGNORE INTO delayed SELECT queue, ?1, seq FROM job WHERE seq = ?2', due, seq)
}

/** Replaces a message. A message that cannot be read stays as it is, because another program may be able to read it. */
export function rewrite(sql: Sql, seq: number, message: StoredMessage): void {
  if (message.undecodable !== undefined) return
  sql.run('UPDATE job SET message = ?2 WHERE seq = ?1', seq, encodeMessage(message))
}

export function deadLetter(sql: Sql, seq: number, id: string, reason: string, now: number): void {
  sql.run('INSERT OR REPLACE INTO dead SELECT queue, ?2, seq, ?3, ?4 FROM job WHERE seq = ?1', seq, now, id, reason)
}

/**
 * Deletes at most `max` waiting jobs of a queue, up to the seq `newest`. Returns their number. If it is below `max`, none is left.
 */
export function purgeWaiting(sql: Sql, queue: number, newest: number, max: number): number {
  let purged = 0
  for (const [place, order] of [
    ['ready', 'rank'],
    ['delayed', 'due'],
  ] as const) {
    const rows = sql.all(
      `SELECT ${order}, seq FROM ${place} WHERE queue = ?1 AND seq <= ?2 ORDER BY ${order}, seq LIMIT ?3`,
      queue,
      newest,
      max - purged,
    )
    const last = rows.at(-1)
    if (last === undefined) continue
    sql.run(
      `DELETE FROM ${place} WHERE queue = ?1 AND (${order}, seq) <= (?2, ?3) AND seq <= ?4`,
      queue,
      integer(last[0]),
      integer(last[1]),
      newest,
    )
    remove(
      sql,
      rows.map((row) => integer(row[1])),
    )
    purged += rows.length
  }
  return purged
}

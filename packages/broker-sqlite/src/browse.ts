/** Lists, cancels and promotes single jobs, for `admin`. The caller of each function holds the transaction. */
import type { StoredJob } from '@zyqueue/core/broker'
import { clamped, clampedTime, integer } from './decode.ts'
import { makeReady, remove } from './jobs.ts'
import { ID_BYTES, readId, readMessage, seqOfUndecodable } from './message.ts'
import type { Sql } from './sql.ts'

/** One query for each state, in the order of the list. A delayed job that is due counts as ready, even if no consumer has moved it yet. */
const PLACES = [
  [
    'active',
    `SELECT j.seq, 0 AS due, j.seq AS place FROM held h JOIN job j ON j.seq = h.seq
      WHERE j.queue = ?1 AND ?3 ORDER BY place LIMIT ?2`,
  ],
  [
    'ready',
    `SELECT * FROM (SELECT seq, 0 AS due, rank AS place FROM ready WHERE queue = ?1 ORDER BY rank, seq LIMIT ?2)
      UNION ALL SELECT d.seq, 0, j.rank FROM delayed d JOIN job j ON j.seq = d.seq WHERE d.queue = ?1 AND d.due <= ?3
      ORDER BY place, seq LIMIT ?2`,
  ],
  ['delayed', 'SELECT seq, due, due AS place FROM delayed WHERE queue = ?1 AND due > ?3 ORDER BY due, seq LIMIT ?2'],
] as const

/** At most `limit` jobs of a queue: active, then ready, then delayed. */
export function listJobs(sql: Sql, queue: number, name: string, limit: number): readonly StoredJob[] {
  const now = Date.now()
  const jobs: StoredJob[] = []
  for (const [state, places] of PLACES) {
    const rows = sql.all(
      `SELECT j.seq, ${clamped('j.rank', 0, 9)}, ${clampedTime('j.stored_at')}, j.message, ${clampedTime('p.due')} FROM (${places}) p JOIN job j ON j.seq = p.seq ORDER BY p.place, p.seq`,
      queue,
      limit - jobs.length,
      now,
    )
    for (const [seq, rank, storedAt, message, due] of rows) {
      const { id, headers, body } = readMessage(integer(seq), message)
      const job = {
        id,
        headers,
        body,
        queue: name,
        state,
        priority: 9 - integer(rank),
        storedAtMs: integer(storedAt),
      }
      jobs.push(state === 'delayed' ? { ...job, readyAtMs: integer(due) } : job)
    }
  }
  return jobs
}

/** Deletes the named jobs that are ready or delayed, and returns their number. */
export function cancelJobs(sql: Sql, queue: number, ids: readonly string[]): number {
  const seqs = takeFrom(sql, ['ready', 'delayed'], queue, findJobs(sql, queue, ids))
  remove(sql, seqs)
  return seqs.length
}

/** Makes the named jobs ready that are delayed, and returns their number. */
export function promoteJobs(sql: Sql, queue: number, ids: readonly string[]): number {
  const seqs = takeFrom(sql, ['delayed'], queue, findJobs(sql, queue, ids))
  makeReady(sql, seqs)
  return seqs.length
}

/** The jobs with these ids, in any state. Reads the whole queue, because ids have no index. */
function findJobs(sql: Sql, queue: number, ids: readonly string[]): readonly number[] {
  const candidates = sql.all(
    `SELECT j.seq, substr(j.message, 1, ?4) FROM job j
        JOIN json_each(?2) w ON substr(j.message, 1, length(w.value) + 1) = CAST(w.value || char(10) AS BLOB)
        WHERE j.queue = ?1
      UNION SELECT seq, substr(message, 1, ?4) FROM job WHERE queue = ?1 AND seq IN (SELECT value FROM json_each(?3))`,
    queue,
    JSON.stringify(ids),
    JSON.stringify(ids.flatMap(seqOfUndecodable)),
    ID_BYTES + 1,
  )
  const wanted = new Set(ids)
  return candidates.flatMap(([column, start]) => {
    const seq = integer(column)
    return wanted.has(readId(seq, start)) ? [seq] : []
  })
}

/** Removes the rows of these jobs from the places, and returns the jobs that had one. The caller must put or delete them. */
function takeFrom(
  sql: Sql,
  places: readonly ('ready' | 'delayed')[],
  queue: number,
  seqs: readonly number[],
): readonly number[] {
  const rows = places.flatMap((place) =>
    sql.all(
      `DELETE FROM ${place} WHERE queue = ?1 AND seq IN (SELECT value FROM json_each(?2)) RETURNING seq`,
      queue,
      JSON.stringify(seqs),
    ),
  )
  return rows.map((row) => integer(row[0]))
}

/** Dead letters. The caller of each function holds the transaction. The functions that change them take at most `max` at once. */
import type { DeadLetter } from '@zyqueue/core/broker'
import { clampedTime, foreignText, integer } from './decode.ts'
import { makeReady, remove } from './jobs.ts'
import { readMessage } from './message.ts'
import type { Sql } from './sql.ts'

const DIED_AT = clampedTime('died_at')

export interface DeadLetterChoice {
  readonly queue: number
  /** Absent: all. */
  readonly ids: readonly string[] | undefined
  /** Only dead letters up to this time, in ms since 1970, so that the call ends even while more jobs die. */
  readonly until: number
}

export function listDead(sql: Sql, queue: number, name: string, limit: number): readonly DeadLetter[] {
  const rows = sql.all(
    `SELECT ${DIED_AT}, CAST(d.reason AS BLOB), j.seq, j.message FROM dead d JOIN job j ON j.seq = d.seq
      WHERE d.queue = ?1 ORDER BY d.died_at DESC, d.seq DESC LIMIT ?2`,
    queue,
    limit,
  )
  return rows.map(([diedAt, reason, seq, message]) => {
    const { id, headers, body } = readMessage(integer(seq), message)
    return { id, queue: name, reason: foreignText(reason), headers, body, diedAtMs: integer(diedAt) }
  })
}

/** When the last job died, in ms since 1970. Later than now if the clock was set back. */
export function lastDeath(sql: Sql, queue: number): number {
  return integer(
    sql.first(`SELECT ${DIED_AT} FROM dead WHERE queue = ?1 ORDER BY died_at DESC LIMIT 1`, queue)?.[0] ?? 0,
  )
}

/** Returns their number. If it is below `max`, none is left. */
export function requeueDead(sql: Sql, choice: DeadLetterChoice, max: number): number {
  const seqs = takeDead(sql, choice, max)
  sql.run(
    'UPDATE job SET deliveries = 0 WHERE deliveries > 0 AND seq IN (SELECT value FROM json_each(?1))',
    JSON.stringify(seqs),
  )
  makeReady(sql, seqs)
  return seqs.length
}

/** Returns their number. If it is below `max`, none is left. */
export function purgeDead(sql: Sql, choice: DeadLetterChoice, max: number): number {
  const seqs = takeDead(sql, choice, max)
  remove(sql, seqs)
  return seqs.length
}

function takeDead(sql: Sql, { queue, ids, until }: DeadLetterChoice, max: number): readonly number[] {
  const those = 'DELETE FROM dead WHERE queue = ?1 AND (died_at, seq) IN (SELECT died_at, seq FROM dead'
  const rows =
    ids === undefined
      ? sql.all(`${those} WHERE queue = ?1 AND ${DIED_AT} <= ?2 LIMIT ?3) RETURNING seq`, queue, until, max)
      : sql.all(
          `${those} WHERE queue = ?1 AND ${DIED_AT} <= ?2 AND id IN (SELECT value FROM json_each(?4)) LIMIT ?3) RETURNING seq`,
          queue,
          until,
          max,
          JSON.stringify(ids),
        )
  return rows.map((row) => integer(row[0]))
}

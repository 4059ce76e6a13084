/**
 * Leases: one row per consumer, so a renewal is one UPDATE for any number of jobs. `held` refers to the id of this row, so the
 * end of a lease takes away all its jobs at once. An id is never used again. The caller of each function but `stands` holds a
 * write transaction; `now` is a reading of `leaseNow` in it.
 */
import type { ClientInfo, LostDelivery } from '@zyqueue/core/broker'
import { integer, text } from './decode.ts'
import { MAX_DELIVERIES, rewrite } from './jobs.ts'
import { STANDS, standsNow } from './lease-clock.ts'
import { ID_BYTES, readId, readMessage } from './message.ts'
import type { Sql } from './sql.ts'

export interface LeaseOwner {
  readonly consumerId: string
  readonly leaseMs: number
  /** The ids of its queues, as a JSON array. */
  readonly queues: string
  readonly client: ClientInfo
}

/**
 * Opens a lease. If the consumer still has an old one, that one ends as if it had expired; `returned` is the number of its jobs,
 * which are ready again.
 */
export function openLease(
  sql: Sql,
  { consumerId, leaseMs, queues, client }: LeaseOwner,
  now: number,
): { readonly lease: number; readonly returned: number } {
  const old = sql.first('SELECT id FROM lease WHERE consumer = ?1', consumerId)
  const returned = old === undefined ? 0 : endLease(sql, integer(old[0]), 'counted')
  const opened = sql.first(
    'INSERT INTO lease (consumer, renewed, expires, since, queues, client) VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id',
    consumerId,
    now,
    now + leaseMs,
    Date.now(),
    queues,
    JSON.stringify(client),
  )
  return { lease: integer(opened?.[0]), returned }
}

/** False if the lease was ended or has expired, even if its jobs were not taken back yet. */
export function stands(sql: Sql, lease: number): boolean {
  const row = sql.first('SELECT renewed, expires FROM lease WHERE id = ?1', lease)
  return row !== undefined && standsNow(integer(row[0]), integer(row[1]))
}

/** Ends a lease: its jobs are ready again, in their old places. Returns their number. */
export function endLease(sql: Sql, lease: number, deliveries: 'counted' | 'uncounted'): number {
  if (deliveries === 'counted') {
    sql.run(
      'UPDATE job SET deliveries = min(deliveries + 1, ?2) WHERE seq IN (SELECT seq FROM held WHERE lease = ?1)',
      lease,
      MAX_DELIVERIES,
    )
  }
  const returned = sql.run(
    'INSERT OR IGNORE INTO ready SELECT j.queue, j.rank, j.seq FROM held h JOIN job j ON j.seq = h.seq WHERE h.lease = ?1',
    lease,
  )
  sql.run('DELETE FROM held WHERE lease = ?1', lease)
  sql.run('DELETE FROM lease WHERE id = ?1', lease)
  return returned
}

/** Ends the expired leases, and returns the number of jobs that are ready again. */
export function endExpired(sql: Sql, now: number): number {
  let returned = 0
  for (const [lease] of sql.all(`SELECT id FROM lease WHERE NOT (${STANDS})`, now)) {
    returned += endLease(sql, integer(lease), 'counted')
  }
  return returned
}

/** Extends the leases that have not expired, and returns the consumers whose lease has ended. */
export function renewLeases(sql: Sql, consumerIds: readonly string[], leaseMs: number, now: number): readonly string[] {
  const renewed = sql.all(
    `UPDATE lease SET renewed = ?1, expires = ?2 WHERE consumer IN (SELECT value FROM json_each(?3)) AND ${STANDS}
      RETURNING consumer`,
    now,
    now + leaseMs,
    JSON.stringify(consumerIds),
  )
  const alive = new Set(renewed.map((row) => text(row[0])))
  return consumerIds.filter((id) => !alive.has(id))
}

/** Ends the lease of a dead consumer. Counts a delivery for the jobs that it had started. Returns the number of jobs that are ready again. */
export function reclaimLease(sql: Sql, consumerId: string, lost: readonly LostDelivery[]): number {
  const row = sql.first('SELECT id FROM lease WHERE consumer = ?1', consumerId)
  if (row === undefined) return 0
  const lease = integer(row[0])
  const lostById = new Map(lost.map((delivery) => [delivery.id, delivery]))
  const held = sql.all(
    'SELECT h.seq, substr(j.message, 1, ?2) FROM held h JOIN job j ON j.seq = h.seq WHERE h.lease = ?1',
    lease,
    ID_BYTES + 1,
  )
  for (const [seqColumn, start] of held) {
    const seq = integer(seqColumn)
    const delivery = lostById.get(readId(seq, start))
    if (delivery !== undefined) countLoss(sql, seq, delivery)
  }
  return endLease(sql, lease, 'uncounted')
}

function countLoss(sql: Sql, seq: number, { headers }: LostDelivery): void {
  sql.run('UPDATE job SET deliveries = min(deliveries + 1, ?2) WHERE seq = ?1', seq, MAX_DELIVERIES)
  if (headers === undefined) return
  const stored = readMessage(seq, sql.first('SELECT message FROM job WHERE seq = ?1', seq)?.[0])
  rewrite(sql, seq, { ...stored, headers: { ...stored.headers, ...headers } })
}

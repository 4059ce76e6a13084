/** The figures of `admin`. Each function is one read of one moment. */
import type { QueueStats, WorkerStats } from '@zyqueue/core/broker'
import { z } from 'zod'
import { clampedTime, foreignText, integer, text } from './decode.ts'
import type { SqlValue } from './driver.ts'
import { standsNow } from './lease-clock.ts'
import type { Sql } from './sql.ts'

/** If another program has changed the row of a lease, its values are shown as unknown, and the other rows as usual. */
const QueueIds = z.array(z.number()).catch([])
/** For each lease: when it was renewed, and when it expires. */
const Leases = z.array(z.tuple([z.number(), z.number()]))
const Client = z
  .object({ name: z.string(), host: z.string(), pid: z.number() })
  .catch({ name: 'unknown', host: 'unknown', pid: 0 })
/** The queues of a lease. `json_each` would fail the whole query if the column is not JSON. */
const JSON_OR_NOTHING = "CASE WHEN json_valid(l.queues) THEN l.queues ELSE '[]' END"

/** All queues, or those of `names` that exist. */
export function queueStatistics(sql: Sql, names?: readonly string[]): readonly QueueStats[] {
  const rows = sql.all(
    `SELECT CAST(q.name AS BLOB),
      (SELECT count(*) FROM ready WHERE queue = q.id),
      (SELECT count(*) FROM delayed WHERE queue = q.id AND due <= ?1),
      (SELECT count(*) FROM delayed WHERE queue = q.id AND due > ?1),
      coalesce(h.active, 0),
      (SELECT count(*) FROM dead WHERE queue = q.id),
      (SELECT json_group_array(json_array(${clampedTime('renewed')}, ${clampedTime('expires')})) FROM lease l
        WHERE EXISTS (SELECT 1 FROM json_each(${JSON_OR_NOTHING}) c WHERE c.value = q.id)),
      (SELECT ${clampedTime('j.stored_at')} FROM job j WHERE j.seq = (SELECT min(seq) FROM (
        SELECT seq FROM ready WHERE queue = q.id
        UNION ALL SELECT seq FROM delayed WHERE queue = q.id AND due <= ?1)))
    FROM queue q
    LEFT JOIN (SELECT j.queue, count(*) AS active FROM held h JOIN job j ON j.seq = h.seq GROUP BY j.queue) h
      ON h.queue = q.id
    WHERE ?2 IS NULL OR q.name IN (SELECT value FROM json_each(?2))
    ORDER BY q.name`,
    Date.now(),
    names === undefined ? null : JSON.stringify(names),
  )
  return rows.map(([name, ready, due, delayed, active, dead, leases, oldest]) => ({
    name: foreignText(name),
    ready: integer(ready) + integer(due),
    delayed: integer(delayed),
    active: integer(active),
    dead: integer(dead),
    workers: Leases.parse(JSON.parse(text(leases))).filter((lease) => standsNow(...lease)).length,
    // Jobs have their seq in the order in which they were stored.
    ...(oldest !== null && { oldestStoredAtMs: integer(oldest) }),
  }))
}

export function workerStatistics(sql: Sql): readonly WorkerStats[] {
  const names = new Map(
    sql.all('SELECT id, CAST(name AS BLOB) FROM queue').map(([id, name]) => [integer(id), foreignText(name)]),
  )
  const rows = sql.all(
    `SELECT ${clampedTime('renewed')}, ${clampedTime('expires')}, CAST(consumer AS BLOB), CAST(client AS BLOB),
      CAST(queues AS BLOB), ${clampedTime('since')}, (SELECT count(*) FROM held WHERE lease = l.id)
      FROM lease l ORDER BY since, id`,
  )
  return rows
    .filter(([renewed, expires]) => standsNow(integer(renewed), integer(expires)))
    .map(([, , consumer, client, queues, since, active]) => ({
      id: foreignText(consumer),
      client: Client.parse(parseForeign(client)),
      queues: QueueIds.parse(parseForeign(queues)).flatMap((id) => names.get(id) ?? []),
      active: integer(active),
      connectedAtMs: integer(since),
    }))
}

/** Undefined if it is not JSON. */
function parseForeign(column: SqlValue | undefined): unknown {
  try {
    return JSON.parse(foreignText(column))
  } catch {
    return undefined
  }
}

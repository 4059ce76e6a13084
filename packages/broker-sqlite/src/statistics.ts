/** What `admin` shows: each function is one read of one moment. */
import type { QueueStats, WorkerStats } from '@zyqueue/core/broker'
import { z } from 'zod'
import { integer, text } from './columns.ts'
import { standsNow } from './lease-clock.ts'
import type { Sql } from './sql.ts'

const QueueIds = z.array(z.number())
/** When each was renewed, and when it expires. */
const Leases = z.array(z.tuple([z.number(), z.number()]))
const Client = z.object({ name: z.string(), host: z.string(), pid: z.number() })

export function queueStatistics(sql: Sql): readonly QueueStats[] {
  const rows = sql.all(
    `SELECT q.name,
      (SELECT count(*) FROM ready WHERE queue = q.id),
      (SELECT count(*) FROM delayed WHERE queue = q.id AND due <= ?1),
      (SELECT count(*) FROM delayed WHERE queue = q.id AND due > ?1),
      coalesce(h.active, 0),
      (SELECT count(*) FROM dead WHERE queue = q.id),
      (SELECT json_group_array(json_array(renewed, expires)) FROM lease l
        WHERE EXISTS (SELECT 1 FROM json_each(l.queues) c WHERE c.value = q.id))
    FROM queue q
    LEFT JOIN (SELECT j.queue, count(*) AS active FROM held h JOIN job j ON j.seq = h.seq GROUP BY j.queue) h
      ON h.queue = q.id
    ORDER BY q.name`,
    Date.now(),
  )
  return rows.map(([name, ready, ripe, delayed, active, dead, leases]) => ({
    name: text(name),
    ready: integer(ready) + integer(ripe),
    delayed: integer(delayed),
    active: integer(active),
    dead: integer(dead),
    workers: Leases.parse(JSON.parse(text(leases))).filter((lease) => standsNow(...lease)).length,
  }))
}

export function workerStatistics(sql: Sql): readonly WorkerStats[] {
  const names = new Map(sql.all('SELECT id, name FROM queue').map(([id, name]) => [integer(id), text(name)]))
  const rows = sql.all(
    `SELECT renewed, expires, consumer, client, queues, since, (SELECT count(*) FROM held WHERE lease = l.id)
      FROM lease l ORDER BY since, id`,
  )
  return rows
    .filter(([renewed, expires]) => standsNow(integer(renewed), integer(expires)))
    .map(([, , consumer, client, queues, since, active]) => ({
      id: text(consumer),
      client: Client.parse(JSON.parse(text(client))),
      queues: QueueIds.parse(JSON.parse(text(queues))).flatMap((id) => names.get(id) ?? []),
      active: integer(active),
      connectedAtMs: integer(since),
    }))
}

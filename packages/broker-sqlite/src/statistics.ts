/** What `admin` shows. */
import type { QueueStats, WorkerStats } from '@zyqueue/core/broker'
import { z } from 'zod'
import { integer, text } from './columns.ts'
import type { SqlValue } from './driver.ts'
import { standsNow } from './lease-clock.ts'

import type { Sql } from './sql.ts'

const QueueIds = z.array(z.number())
const Client = z.object({ name: z.string(), host: z.string(), pid: z.number() })

export function queueStatistics(sql: Sql): readonly QueueStats[] {
  const workers = new Map<number, number>()
  for (const { queues } of standing(sql)) for (const id of queues) workers.set(id, (workers.get(id) ?? 0) + 1)
  const rows = sql.all(
    `SELECT q.id, q.name,
      (SELECT count(*) FROM ready WHERE queue = q.id),
      (SELECT count(*) FROM delayed WHERE queue = q.id AND due <= ?1),
      (SELECT count(*) FROM delayed WHERE queue = q.id AND due > ?1),
      coalesce(h.active, 0),
      (SELECT count(*) FROM dead WHERE queue = q.id)
    FROM queue q
    LEFT JOIN (SELECT j.queue, count(*) AS active FROM held h JOIN job j ON j.seq = h.seq GROUP BY j.queue) h
      ON h.queue = q.id
    ORDER BY q.name`,
    Date.now(),
  )
  return rows.map(([id, name, ready, ripe, delayed, active, dead]) => ({
    name: text(name),
    ready: integer(ready) + integer(ripe),
    delayed: integer(delayed),
    active: integer(active),
    dead: integer(dead),
    workers: workers.get(integer(id)) ?? 0,
  }))
}

export function workerStatistics(sql: Sql): readonly WorkerStats[] {
  const names = new Map(sql.all('SELECT id, name FROM queue').map(([id, name]) => [integer(id), text(name)]))
  return standing(sql).map(({ row: [consumer, client, since, active], queues }) => ({
    id: text(consumer),
    client: Client.parse(JSON.parse(text(client))),
    queues: queues.flatMap((id) => names.get(id) ?? []),
    active: integer(active),
    connectedAtMs: integer(since),
  }))
}

interface Standing {
  /** consumer, client, since, held jobs */
  readonly row: readonly SqlValue[]
  readonly queues: readonly number[]
}

function standing(sql: Sql): readonly Standing[] {
  const rows = sql.all(
    `SELECT renewed, expires, queues, consumer, client, since, (SELECT count(*) FROM held WHERE lease = l.id)
      FROM lease l ORDER BY since, id`,
  )
  return rows
    .filter(([renewed, expires]) => standsNow(integer(renewed), integer(expires)))
    .map(([, , queues, ...row]) => ({ row, queues: QueueIds.parse(JSON.parse(text(queues))) }))
}

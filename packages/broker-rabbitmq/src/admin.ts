import type { BrokerAdmin, Finding, QueueStats, WorkerStats } from '@zyqueue/core/broker'
import type { Address } from './address.ts'
import { createDeadLetters } from './dead-letters.ts'
import { ORPHANS } from './delays.ts'
import { createManagement, type Management } from './management.ts'
import { dueNameOf, hasDueQueue, type Plan } from './options.ts'
import { purgeDelayed } from './purge.ts'
import type { Session } from './session.ts'
import { countsOf, deadQueueOf, queueNotFound } from './topology.ts'
import { findingsOfVersion } from './versions.ts'
import { Workbench } from './workbench.ts'

/** Questions are asked on so many channels at once: each takes a round trip. */
const CHANNELS = 4

/** The plans are those of the queues that this broker has declared. */
export function createAdmin(session: () => Session, address: Address, plans: ReadonlyMap<string, Plan>): BrokerAdmin {
  const management = createManagement(address)
  return {
    deadLetters: createDeadLetters(session),
    queues: async (names) => queueStats(session(), management, plans, names),
    workers: async () => workerStats(session()),
    purge: async (queue) => purge(session(), queue),
    check: async () => check(session(), management),
    async version() {
      return `RabbitMQ ${session().link.version}`
    },
  }
}

async function queueStats(
  { link, registry }: Session,
  management: Management,
  plans: ReadonlyMap<string, Plan>,
  names: readonly string[] | undefined,
): Promise<readonly QueueStats[]> {
  const noted = names === undefined ? await registry.read() : undefined
  const asked = [...(names ?? noted?.queues ?? [])]
  // The server closes the channel of a question about a queue that does not exist, so ask only if it may exist.
  const mayHaveDue = (name: string): boolean => {
    const plan = plans.get(name)
    if (plan !== undefined && hasDueQueue(plan)) return true
    return noted === undefined ? plan === undefined || plan.passive : noted.dues.has(name)
  }
  const active = await management.active()
  const found: QueueStats[] = []
  const gone = new Set<string>()
  await Promise.all(
    Array.from({ length: Math.min(CHANNELS, asked.length) }, async () => {
      const workbench = new Workbench(link)
      for (let name = asked.pop(); name !== undefined; name = asked.pop()) {
        const own = await countsOf(workbench, name)
        const dueName = dueNameOf(name)
        const due = mayHaveDue(name) ? ((await countsOf(workbench, dueName))?.messageCount ?? 0) : 0
        if (own === undefined) {
          gone.add(name)
          continue
        }
        const dead = (await countsOf(workbench, deadQueueOf(name)))?.messageCount ?? 0
        const inHand = active?.get(name)
        // One of our workers may have several AMQP consumers, or none for a moment.
        const workers = noted?.workers.filter(({ queues }) => queues.includes(name)).length ?? 0
        found.push({
          name,
          ready: own.messageCount + due,
          workers: workers > 0 ? workers : own.consumerCount,
          dead,
          ...(inHand !== undefined && { active: inHand + (active?.get(dueName) ?? 0) }),
        })
      }
      await workbench.close()
    }),
  )
  if (names === undefined && gone.size > 0) await registry.removeQueues(gone)
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

async function workerStats({ registry }: Session): Promise<readonly WorkerStats[]> {
  const { workers } = await registry.read()
  return workers.map(({ id, client, queues, connectedAtMs }) => ({ id, client, queues, connectedAtMs }))
}

async function purge(session: Session, queue: string): Promise<number> {
  if ((await countsOf(session.workbench, queue)) === undefined) throw queueNotFound(queue)
  let deleted = 0
  for (const name of [queue, dueNameOf(queue)]) {
    if ((await countsOf(session.workbench, name)) === undefined) continue
    const { messageCount } = await session.workbench.run((channel) => channel.purgeQueue(name))
    deleted += messageCount
  }
  return deleted + (await purgeDelayed(session, queue))
}

async function check({ link, workbench, publisher }: Session, management: Management): Promise<readonly Finding[]> {
  const findings: Finding[] = [...findingsOfVersion(link.version)]
  const orphans = (await countsOf(workbench, ORPHANS))?.messageCount ?? 0
  if (orphans > 0) {
    findings.push({
      level: 'warning',
      message: `${orphans} delayed jobs were due for queues that had been deleted; they are kept in ${ORPHANS}`,
      remedy: `Move them with the management plugin, or purge the queue ${ORPHANS}`,
    })
  }
  if (publisher.blockedBecause !== undefined) {
    findings.push({
      level: 'problem',
      message: `RabbitMQ takes no messages at the moment: ${publisher.blockedBecause}`,
      remedy: 'Give it memory or disk space, or run more workers',
    })
  }
  return [...findings, ...(await management.findings())]
}

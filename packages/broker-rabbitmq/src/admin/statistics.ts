/** Figures of queues and workers. Each passive declaration is a round trip, so several channels ask at once. */
import type { QueueStats, WorkerStats } from '@zyqueue/core/broker'
import type { AmqpConnection } from '../connection/amqp-connection.ts'
import type { ConnectionState } from '../connection/connection-state.ts'
import { DeclareChannel } from '../connection/declare-channel.ts'
import { dueNameOf, hasDueQueue, type Plan } from '../options.ts'
import { countsOf, deadQueueOf } from '../topology.ts'
import type { WorkerRecord } from './catalog.ts'
import type { Management } from './management.ts'

const CHANNELS = 4

/** Of `names`, or of all queues in the catalog. `plans`: the queues that this broker has declared. */
export async function queueStats(
  { connection, catalog }: ConnectionState,
  management: Management,
  plans: ReadonlyMap<string, Plan>,
  names: readonly string[] | undefined,
): Promise<readonly QueueStats[]> {
  const [{ queues, workers }, active] = await Promise.all([catalog.readWhenAvailable(), management.active()])
  const asked = names ?? [...queues.keys()]
  const alive = await aliveOf(
    connection,
    workers.filter((worker) => worker.queues.some((queue) => asked.includes(queue))),
  )
  const found = await forEachOf(connection, asked, async (channel, name) => {
    const own = await countsOf(channel, name)
    if (own === undefined) return undefined
    const plan = plans.get(name)
    const due = dueNameOf(name)
    // The server closes the channel of a question about a queue that does not exist, so ask only if it may exist.
    const mayHaveDue = plan === undefined ? queues.get(name) !== false : hasDueQueue(plan) || plan.passive
    const arrived = mayHaveDue ? ((await countsOf(channel, due))?.messageCount ?? 0) : 0
    const dead = (await countsOf(channel, deadQueueOf(name)))?.messageCount ?? 0
    const unacked = active?.get(name)
    return {
      name,
      ready: own.messageCount + arrived,
      dead,
      // A worker has several AMQP consumers of a queue. Consumers of other programs are not in the catalog.
      workers: alive.filter((worker) => worker.queues.includes(name)).length || own.consumerCount,
      ...(unacked !== undefined && { active: unacked + (active?.get(due) ?? 0) }),
    }
  })
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

export async function workerStats({ connection, catalog }: ConnectionState): Promise<readonly WorkerStats[]> {
  const { workers } = await catalog.readWhenAvailable()
  const alive = await aliveOf(connection, workers)
  return alive.map(({ id, client, queues, connectedAtMs }) => ({ id, client, queues, connectedAtMs }))
}

function aliveOf(connection: AmqpConnection, workers: readonly WorkerRecord[]): Promise<readonly WorkerRecord[]> {
  return forEachOf(connection, workers, async (channel, worker) => {
    const isAlive = ((await countsOf(channel, worker.presence))?.consumerCount ?? 0) > 0
    return isAlive ? worker : undefined
  })
}

/** Calls `ask` for each item, on some channels at once, and resolves to its answers that are not undefined. */
async function forEachOf<Item, Answer>(
  connection: AmqpConnection,
  items: readonly Item[],
  ask: (channel: DeclareChannel, item: Item) => Promise<Answer | undefined>,
): Promise<readonly Answer[]> {
  const left = [...items]
  const answers: Answer[] = []
  await Promise.all(
    Array.from({ length: Math.min(CHANNELS, left.length) }, async () => {
      const channel = new DeclareChannel(connection)
      try {
        for (let item = left.pop(); item !== undefined; item = left.pop()) {
          const answer = await ask(channel, item)
          if (answer !== undefined) answers.push(answer)
        }
      } finally {
        await channel.close()
      }
    }),
  )
  return answers
}

import { BrokerError, type OpenBroker } from '@zyqueue/core'
import { suggest } from '@zyqueue/core/supervisor'
import type { QueueStats } from '@zyqueue/core/broker'

/** The named queues, in the order of the names, or all queues, sorted by name. Rejects with `ZYQ_QUEUE_NOT_FOUND`. */
export async function namedQueues({ admin }: OpenBroker, names: readonly string[]): Promise<readonly QueueStats[]> {
  if (names.length === 0) return (await admin.queues()).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const found = new Map((await admin.queues(names)).map((queue) => [queue.name, queue]))
  const missing = names.find((name) => !found.has(name))
  if (missing === undefined) return names.flatMap((name) => found.get(name) ?? [])
  const all = (await admin.queues()).map(({ name }) => name)
  const near = suggest(missing, all)
  const hint = near === undefined ? '' : `; did you mean "${near}"?`
  throw new BrokerError('ZYQ_QUEUE_NOT_FOUND', `queue "${missing}" does not exist${hint}`)
}

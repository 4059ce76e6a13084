import { BrokerError } from '@zyqueue/core'
import type { QueueStats } from '@zyqueue/core/broker'
import { suggest } from './suggest.ts'

/** The queues of these names, in their order; all, by name, where none is asked for. Throws `ZYQ_QUEUE_NOT_FOUND`. */
export function namedQueues(queues: readonly QueueStats[], names: readonly string[]): readonly QueueStats[] {
  if (names.length === 0) return queues.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  return names.map((name) => {
    const queue = queues.find((candidate) => candidate.name === name)
    if (queue !== undefined) return queue
    const near = suggest(
      name,
      queues.map((candidate) => candidate.name),
    )
    const hint = near === undefined ? '' : `; did you mean "${near}"?`
    throw new BrokerError('ZYQ_QUEUE_NOT_FOUND', `there is no queue "${name}"${hint}`)
  })
}

import { BrokerError, type OpenBroker } from '@zyqueue/core'

/** What happened to single jobs. */
export interface Changed {
  /** The number of changed jobs in each queue. */
  readonly perQueue: Readonly<Record<string, number>>
  readonly count: number
  readonly notFound: readonly string[]
}

/**
 * Changes the jobs with these ids, in one queue or in all. Rejects with `ZYQ_JOB_NOT_FOUND` if no job was changed; `kind` is then
 * the kind of job that was looked for.
 */
export async function changeJobs(
  broker: OpenBroker,
  { ids, queue, kind }: { readonly ids: readonly string[]; readonly queue: string | undefined; readonly kind: string },
  change: (queue: string, ids: readonly string[]) => Promise<number>,
): Promise<Changed> {
  const queues = queue === undefined ? (await broker.admin.queues()).map(({ name }) => name) : [queue]
  const counts = new Map<string, number>()
  const missing = new Set(ids)
  for (const name of queues) {
    // One id per call: for several ids a broker returns only the number of changed jobs.
    for (const id of missing) {
      if ((await change(name, [id])) === 0) continue
      missing.delete(id)
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
  }
  const notFound = [...missing]
  if (counts.size === 0) {
    throw new BrokerError('ZYQ_JOB_NOT_FOUND', `no ${kind} job has one of these ids: ${notFound.join(', ')}`)
  }
  const count = [...counts.values()].reduce((sum, some) => sum + some, 0)
  return { perQueue: Object.fromEntries(counts), count, notFound }
}

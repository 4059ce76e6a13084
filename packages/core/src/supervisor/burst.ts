import type { Logger } from '../logger.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import type { SupervisedConsumer } from './ipc.ts'
import type { WorkerHandle } from './worker-handle.ts'

/** All processes must hold no job for this time before the queues are read. */
const IDLE_MS = 500

/**
 * `--burst`: true if no process holds a job and no queue has a job that is ready. Delayed jobs do not count.
 * False if a broker is unavailable.
 */
export async function isDone(
  workers: readonly (WorkerHandle | undefined)[],
  leases: LeaseKeeper,
  log: Logger,
): Promise<boolean> {
  // The last message of a process may be old. Its ledger is up to date.
  const isIdle = (worker: WorkerHandle | undefined): boolean =>
    worker !== undefined && worker.idleMs >= IDLE_MS && worker.running().length === 0
  const allIdle = (): boolean => !leases.isReclaiming && workers.every(isIdle)
  if (!allIdle()) return false
  const consumers = new Map<string, SupervisedConsumer>()
  for (const consumer of workers.flatMap((worker) => worker?.consumers ?? [])) {
    consumers.set(JSON.stringify([consumer.address, consumer.queues]), consumer)
  }
  let delayed = 0
  for (const consumer of consumers.values()) {
    const queues = await leases.queues(consumer)
    if (queues === undefined || queues.some(({ ready = 0 }) => ready > 0)) return false
    for (const queue of queues) delayed += queue.delayed ?? 0
  }
  if (!allIdle()) return false
  if (delayed > 0) log.info({ delayed }, 'no job is ready; delayed jobs remain for later workers')
  return true
}

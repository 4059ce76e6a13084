import type { BrokerAdmin } from '@zyqueue/core/broker'

/** The name of the queue and of the task. */
export const QUEUE = 'bench'
/** The environment variable with the folder for the tallies of ZyQueue's worker processes. */
export const TALLY_FOLDER = 'ZYQUEUE_BENCH_TALLIES'

/** The number of jobs that are neither done nor dead. */
export async function waiting(admin: BrokerAdmin): Promise<number> {
  const queues = await admin.queues([QUEUE])
  return queues.reduce((sum, { ready = 0, delayed = 0, active = 0 }) => sum + ready + delayed + active, 0)
}

import type { BrokerAdmin } from '@zyqueue/core/broker'

/** The queue, and the task, that ours is measured with. */
export const QUEUE = 'bench'
/** The environment variable that tells worker processes of ours where to leave their tallies. */
export const TALLY_FOLDER = 'ZYQUEUE_BENCH_TALLIES'

/** Jobs that are neither done nor dead, whoever holds them. */
export async function waiting(admin: BrokerAdmin): Promise<number> {
  const queues = await admin.queues([QUEUE])
  return queues.reduce((sum, { ready = 0, delayed = 0, active = 0 }) => sum + ready + delayed + active, 0)
}

/** The task of the Python original's example, on Gearman. `zyqueue work --task-file tasks.ts` runs it. */
import { queueJob, type Job } from '@zyqueue/core'

export const queueTaskGearman = queueJob(
  { server: 'gearman', connection: process.env['GEARMAN_SERVERS'] ?? 'localhost:4730' },
  async function queueTaskGearman(worker, job: Job<Readonly<Record<string, string | number>>>) {
    const data = Object.entries(job.data).map(([key, value]) => `${key}: ${value}`)
    worker.log.info({ job: job.id }, `task execute success! job data: ${data.join(',')}`)
    return true
  },
)

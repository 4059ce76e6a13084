/** The task of the Python original's example, on Redis: `zyqueue work --task-file tasks.ts` runs it. */
import { queueJob, type Job } from '@zyqueue/core'

export const queueTaskRedis = queueJob(
  { connection: process.env['REDIS_URL'] ?? 'redis://localhost:6379' },
  async function queueTaskRedis(worker, job: Job<Readonly<Record<string, string | number>>>) {
    const data = Object.entries(job.data).map(([key, value]) => `${key}: ${value}`)
    worker.log.info({ job: job.id }, `task execute success! job data: ${data.join(',')}`)
    return true
  },
)

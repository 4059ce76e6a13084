/** The task of the Python original's example, on the embedded broker: `zyqueue work --task-file tasks.ts` runs it. */
import { queueJob, type Job } from '@zyqueue/core'

export const queueTask = queueJob(
  { connection: process.env['SQLITE_URL'] ?? 'sqlite:./queue.db' },
  async function queueTask(worker, job: Job<Readonly<Record<string, string | number>>>) {
    const data = Object.entries(job.data).map(([key, value]) => `${key}: ${value}`)
    worker.log.info({ job: job.id }, `task execute success! job data: ${data.join(',')}`)
    return true
  },
)

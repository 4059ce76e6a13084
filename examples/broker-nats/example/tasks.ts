/** A task on NATS. Run it with `zyqueue work --task-file tasks.ts`. */
import { queueJob, type Job } from '@zyqueue/core'

export const queueTaskNats = queueJob(
  { connection: process.env['NATS_URL'] ?? 'nats://localhost:4222' },
  async function queueTaskNats(worker, job: Job<Readonly<Record<string, string | number>>>) {
    const data = Object.entries(job.data).map(([key, value]) => `${key}: ${value}`)
    worker.log.info({ job: job.id }, `task execute success! job data: ${data.join(',')}`)
    return true
  },
)

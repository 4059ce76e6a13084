/** Appends one line for each report: when it was due. The wait stands for long work, which should finish on SIGTERM. */
import { appendFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { queueJob, type Job } from '@zyqueue/core'

export const report = queueJob({ retries: 5 }, async function report(worker, job: Job<{ dueAtMs: number }>) {
  worker.log.info({ job: job.id, dueAtMs: job.data.dueAtMs }, 'reporting')
  await sleep(Number(process.env['WORK_MS'] ?? 1_000))
  await appendFile(process.env['REPORTS'] ?? 'reports.ndjson', `${JSON.stringify({ job: job.id, ...job.data })}\n`)
})

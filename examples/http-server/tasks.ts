/** The task that the server submits and `zyqueue work --task-file tasks.ts` runs. Both import this file. */
import { appendFile } from 'node:fs/promises'
import { queueJob } from '@zyqueue/core'
import { z } from 'zod'

export const User = z.object({ to: z.email(), name: z.string().min(1) })

export const welcome = queueJob({ data: User, retries: 8, timeoutMs: 30_000 }, async function welcome(worker, job) {
  const { to, name } = job.data
  // Stands in for a mail server.
  await appendFile(
    process.env['OUTBOX'] ?? 'outbox.ndjson',
    `${JSON.stringify({ job: job.id, to, text: `Welcome, ${name}` })}\n`,
  )
  worker.log.info({ job: job.id }, 'welcomed')
})

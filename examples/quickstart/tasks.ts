/** The only task of this example. `zyqueue work --task-file tasks.ts` runs it; `submit.ts` submits its jobs. */
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { queueJob } from '@zyqueue/core'
import { z } from 'zod'
import { examine } from './examine.ts'
import { resultsFolder } from './results.ts'

export const fingerprint = queueJob(
  { data: z.object({ file: z.string() }) },
  async function fingerprint(_worker, { id, data }) {
    const result = { job: id, file: data.file, ...(await examine(data.file)) }
    // One file per process needs no lock. A job may be delivered twice, so the reader takes one line for each id.
    await appendFile(join(resultsFolder(), `${process.pid}.ndjson`), `${JSON.stringify(result)}\n`)
  },
)

/** A timer that submits jobs and a worker that runs them, in one process. `EVERY_MS` is the interval; default: a minute. */
import { createLogger, createWorker } from '@zyqueue/core'
import { every } from './schedule.ts'
import { report } from './tasks.ts'

const log = createLogger({ level: 'info' })
const worker = createWorker({ tasks: [report], concurrency: 4, graceMs: 20_000, logger: log })
await worker.start()

const schedule = every(Number(process.env['EVERY_MS'] ?? 60_000), async (dueAtMs) => {
  try {
    await report.submit({ dueAtMs })
  } catch (error) {
    log.error({ err: error, dueAtMs }, 'not submitted')
  }
})

let ending = false
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // Second signal: give the running jobs back now.
    if (ending) return void worker.close()
    ending = true
    log.info({ signal }, 'finishing')
    // Stop submitting, then stop receiving. After that, nothing keeps the process alive.
    void schedule.stop().then(() => worker.drain())
  })
}

/** A clock that submits and a worker that runs, in one process. `EVERY_MS` is the interval, a minute without it. */
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
    // The second one: give back what runs, now.
    if (ending) return void worker.close()
    ending = true
    log.info({ signal }, 'finishing')
    // First nothing new is made, then nothing new is taken. When both are done, nothing keeps the process alive.
    void schedule.stop().then(() => worker.drain())
  })
}

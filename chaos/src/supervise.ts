/** A supervisor in its own process, so that it can be killed. Exits as `zyqueue work` does. */
import { fileURLToPath } from 'node:url'
import { createLogger } from '@zyqueue/core'
import { createSupervisor } from '@zyqueue/core/supervisor'

const [leaseMs = '', maxWorkers = ''] = process.argv.slice(2)

const supervisor = createSupervisor({
  taskFile: fileURLToPath(new URL('./tasks.js', import.meta.url)),
  maxWorkers: Number(maxWorkers),
  concurrency: 5,
  leaseMs: Number(leaseMs),
  stallMs: 5_000,
  graceMs: 5_000,
  logger: createLogger({ level: 'info', format: 'json' }),
  workerLog: { level: 'warn', format: 'json' },
  server: process.env['ZYQUEUE_SERVER'] ?? '',
  ...(process.env['ZYQUEUE_CONNECTION'] && { connection: process.env['ZYQUEUE_CONNECTION'] }),
})
process.on('SIGTERM', () => supervisor.drain())
const { reason, error } = await supervisor.run()
if (error !== undefined) process.stderr.write(`${String(error)}\n`)
process.exitCode = reason === 'drained' ? 0 : 1

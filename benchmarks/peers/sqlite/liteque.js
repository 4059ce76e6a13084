// liteque 0.8.0: polls, no bulk call. Its transactions return promises, which better-sqlite3 11.4 and later refuse, so this is 11.3.
// It sets synchronous = NORMAL. ZyQueue uses FULL, so this sets FULL.
import { existsSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { layBacklog } from './backlog.js'
import { fileOf } from './file-of.js'
import { buildDBClient, Runner, SqliteQueue } from 'liteque'

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const path = fileOf(address)
    const db = buildDBClient(path, { runMigrations: !existsSync(path) })
    const connection = db.session.client
    connection.pragma('synchronous = FULL')
    const queue = new SqliteQueue('bench', db, { defaultJobArgs: { numRetries: 0 }, keepFailedJobs: false })

    return {
      submit: (payload) => queue.enqueue(payload),
      async submitMany(payloads) {
        for (const payload of payloads) await queue.enqueue(payload)
      },
      async fill(payloads) {
        const jobs = [...payloads]
        await layBacklog({
          submitOne: () => queue.enqueue(jobs[0]),
          run: (sql) => connection.exec(sql),
          table: 'tasks',
          columns: connection
            .pragma('table_info(tasks)')
            .map(({ name }) => name)
            .filter((name) => name !== 'id'),
          count: jobs.length,
        })
      },
      async work(handle) {
        const run = async (job) => {
          await handle(job.data)
          // Its loop blocks timers and messages until it has as many jobs as its concurrency.
          await setImmediate()
        }
        const runner = new Runner(queue, { run }, { concurrency: 10, pollIntervalMs: 100, timeoutSecs: 600 })
        const ended = runner.run()
        return async () => {
          runner.stop()
          await ended
        }
      },
      async waiting() {
        const { pending, pending_retry } = await queue.stats()
        return pending + pending_retry
      },
      close: async () => connection.close(),
    }
  },
}

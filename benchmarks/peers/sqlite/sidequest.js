// sidequest 1.16.4: polls, no bulk call. Its fastest settings: in this process instead of a fork, and handlers inline instead of
// in threads. WAL with FULL, as ZyQueue.
import Database from 'better-sqlite3'
import { Sidequest } from 'sidequest'
import { layBacklog } from './backlog.js'
import { fileOf } from './file-of.js'
import { BenchJob, setHandler } from './sidequest-job.js'

const QUEUE = { name: 'default', concurrency: 100 }

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const file = fileOf(address)
    const config = {
      backend: {
        driver: '@sidequest/sqlite-backend',
        config: {
          connection: { filename: file },
          pool: {
            min: 1,
            max: 1,
            afterCreate(connection, done) {
              connection.pragma('journal_mode = WAL')
              connection.pragma('synchronous = FULL')
              connection.pragma('busy_timeout = 5000')
              done(null, connection)
            },
          },
        },
      },
      dashboard: { enabled: false },
      logger: { level: 'error' },
      fork: false,
      runner: 'inline',
      gracefulShutdown: false,
      maxConcurrentJobs: 100,
      queues: [QUEUE],
      jobPollingInterval: 100,
    }
    await Sidequest.configure(config)
    const backend = Sidequest.getBackend()
    const { knex } = backend.backend
    // If two workers start at once, both create the queue, and one fails.
    if (!(await backend.getQueue(QUEUE.name))) await backend.createNewQueue(QUEUE)
    const enqueue = (payload) => Sidequest.build(BenchJob).enqueue(payload)

    return {
      submit: enqueue,
      async submitMany(payloads) {
        for (const payload of payloads) await enqueue(payload)
      },
      async fill(payloads) {
        const jobs = [...payloads]
        await layBacklog({
          submitOne: () => enqueue(jobs[0]),
          run: (sql) => knex.raw(sql),
          table: 'sidequest_jobs',
          columns: Object.keys(await knex('sidequest_jobs').columnInfo()).filter((name) => name !== 'id'),
          count: jobs.length,
        })
      },
      async work(handle) {
        setHandler(handle)
        await Sidequest.start(config)
        return () => Sidequest.stop()
      },
      async waiting() {
        // Sidequest cannot count jobs after it was stopped.
        const connection = new Database(file, { readonly: true })
        const { jobs } = connection.prepare("SELECT count(*) AS jobs FROM sidequest_jobs WHERE state = 'waiting'").get()
        connection.close()
        return jobs
      },
      close: () => Sidequest.stop(),
    }
  },
}

// plainjob 0.0.14: polls, one job at a time. It sets synchronous = NORMAL. ZyQueue uses FULL, so this sets FULL.
import { setImmediate } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { better, defineQueue, defineWorker, JobStatus } from 'plainjob'
import { fileOf } from './file-of.js'

const BATCH = 1_000
const silent = { error() {}, warn() {}, info() {}, debug() {} }

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const connection = better(new Database(fileOf(address)))
    const queue = defineQueue({ connection, logger: silent })
    connection.pragma('synchronous = FULL')

    function submitMany(payloads) {
      let batch = []
      for (const payload of payloads) {
        if (batch.push(payload) < BATCH) continue
        queue.addMany('bench', batch)
        batch = []
      }
      if (batch.length > 0) queue.addMany('bench', batch)
    }

    return {
      submit: async (payload) => queue.add('bench', payload),
      submitMany: async (payloads) => submitMany(payloads),
      async work(handle) {
        let done = 0
        const run = async (job) => {
          await handle(JSON.parse(job.data))
          // Its loop blocks timers and messages until it finds no job.
          if (++done % 100 === 0) await setImmediate()
        }
        const worker = defineWorker('bench', run, { queue, logger: silent, pollIntervall: 100 })
        const ended = worker.start()
        return async () => {
          await worker.stop()
          await ended
        }
      },
      waiting: async () => queue.countJobs({ type: 'bench', status: JobStatus.Pending }),
      close: async () => queue.close(),
    }
  },
}

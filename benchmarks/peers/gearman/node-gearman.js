// gearman 2.1.0 (node-gearman): one unfinished job at a time, as in its documentation.
import { createRequire } from 'node:module'
import { addressOf, waitingOn } from './address-of.js'

const gearman = createRequire(import.meta.url)('gearman')
const BATCH = 1_000

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const { host, port } = addressOf(address)
    const connect = () =>
      new Promise((resolve, reject) => {
        const client = gearman(host, port, { timeout: 60_000 })
        client.on('error', reject)
        client.connect(() => resolve(client))
      })
    const client = await connect()
    const due = []
    client.on('JOB_CREATED', () => due.shift()?.())
    const submit = (payload) =>
      new Promise((resolve) => {
        due.push(resolve)
        client.submitJob('bench', JSON.stringify(payload), { background: true })
      })
    return {
      submit,
      async submitMany(payloads) {
        let batch = []
        for (const payload of payloads) {
          if (batch.push(submit(payload)) < BATCH) continue
          await Promise.all(batch)
          batch = []
        }
        await Promise.all(batch)
      },
      async work(handle) {
        const worker = await connect()
        let stopped = false
        worker.on('JOB_ASSIGN', async (job) => {
          if (stopped) return
          await handle(JSON.parse(job.payload.toString()))
          worker.sendWorkComplete(job.handle, '')
          worker.grabJob()
        })
        worker.on('NO_JOB', () => worker.preSleep())
        worker.on('NOOP', () => worker.grabJob())
        worker.addFunction('bench')
        worker.grabJob()
        return async () => {
          stopped = true
          worker.close()
        }
      },
      waiting: () => waitingOn(address),
      async close() {
        client.close()
      },
    }
  },
}

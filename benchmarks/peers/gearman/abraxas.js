// abraxas 2.1.10: streams and promises. `maxJobs` is the number of pending grabs; more than 500 do not make it faster.
import { createRequire } from 'node:module'
import { addressOf, waitingOn } from './address-of.js'

const Gearman = createRequire(import.meta.url)('abraxas')
const BATCH = 1_000

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const { host, port } = addressOf(address)
    const connect = () =>
      new Promise((resolve) => {
        const client = Gearman.Client.connect({ host, port, defaultEncoding: 'utf8', maxJobs: 500 }, () =>
          resolve(client),
        )
      })
    const client = await connect()
    const submit = (payload) =>
      new Promise((resolve, reject) => {
        client.submitJobBg('bench', JSON.stringify(payload), (error) => {
          if (error) reject(new Error('abraxas did not store a job.', { cause: error }))
          else resolve()
        })
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
        let running = 0
        worker.registerWorker('bench', async (task) => {
          // abraxas throws if a job arrives after disconnect(), so late jobs stay unfinished on the connection.
          if (stopped) return new Promise(() => {})
          running++
          await handle(JSON.parse(task.payload))
          running--
          return ''
        })
        return async () => {
          stopped = true
          while (running > 0) await new Promise(setImmediate)
        }
      },
      waiting: () => waitingOn(address),
      async close() {
        client.disconnect()
      },
    }
  },
}

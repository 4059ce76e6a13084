// abraxas 2.1.10: streams and promises. `maxJobs` is how many grabs it has under way; more than 500 gain it nothing.
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
          if (error) reject(new Error('a job was not stored', { cause: error }))
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
          // It throws where a job comes after it was told to disconnect, so what comes late stays with the connection.
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

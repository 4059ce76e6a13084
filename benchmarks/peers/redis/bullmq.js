// bullmq 6.7.0: done jobs are removed at once, and no client listens to events.
import { Queue, Worker } from 'bullmq'

const BATCH = 1_000

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const { hostname: host, port } = new URL(address)
    const connection = { host, port: Number(port), maxRetriesPerRequest: null }
    const queue = new Queue('bench', { connection, defaultJobOptions: { removeOnComplete: true } })
    await queue.waitUntilReady()

    async function submitMany(payloads) {
      let batch = []
      for (const data of payloads) {
        if (batch.push({ name: 'bench', data }) < BATCH) continue
        await queue.addBulk(batch)
        batch = []
      }
      if (batch.length > 0) await queue.addBulk(batch)
    }

    return {
      submit: (payload) => queue.add('bench', payload),
      submitMany,
      async work(handle) {
        const worker = new Worker('bench', (job) => handle(job.data), {
          connection,
          concurrency: 100,
          removeOnComplete: { count: 0 },
        })
        await worker.waitUntilReady()
        return () => worker.close()
      },
      async waiting() {
        const counts = await queue.getJobCounts('waiting', 'active', 'delayed', 'prioritized')
        return Object.values(counts).reduce((sum, count) => sum + count, 0)
      },
      close: () => queue.close(),
    }
  },
}

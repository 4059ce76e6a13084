// bee-queue 2.0.0: done jobs are removed at once, and events are off.
import Queue from 'bee-queue'

const BATCH = 1_000

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const { hostname: host, port } = new URL(address)
    const settings = {
      redis: { host, port: Number(port) },
      removeOnSuccess: true,
      storeJobs: false,
      getEvents: false,
      sendEvents: false,
    }
    const queue = new Queue('bench', { ...settings, isWorker: false })
    await queue.ready()
    const workers = []

    return {
      submit: (payload) => queue.createJob(payload).save(),
      async submitMany(payloads) {
        let batch = []
        for (const payload of payloads) {
          if (batch.push(queue.createJob(payload)) < BATCH) continue
          await queue.saveAll(batch)
          batch = []
        }
        if (batch.length > 0) await queue.saveAll(batch)
      },
      async work(handle) {
        const worker = new Queue('bench', settings)
        workers.push(worker)
        await worker.ready()
        worker.process(100, async (job) => handle(job.data))
        return () => worker.close(5_000)
      },
      async waiting() {
        const { waiting, active, delayed } = await queue.checkHealth()
        return waiting + active + delayed
      },
      close: () => queue.close(),
    }
  },
}

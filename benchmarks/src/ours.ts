/** ZyQueue as users run it: a task in worker processes with a supervisor. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createWorker, openBroker, queueJob, type OpenBroker } from '@zyqueue/core'
import { createSupervisor } from '@zyqueue/core/supervisor'
import { QUEUE, TALLY_FOLDER, waiting } from './bench-queue.ts'
import type { Contestant, Payload, WorkerProcesses } from './contestant.ts'
import { readTallies } from './tally.ts'

const CONCURRENCY = 100

export const contestant: Contestant = {
  async open(connection) {
    let handler: (job: Payload) => Promise<void> | void = () => {}
    const task = queueJob({ name: QUEUE, connection }, (_worker, job: { data: Payload }) => handler(job.data))
    const broker = await openBroker({ connection })
    return {
      submit: (data) => task.submit(data),
      submitMany: (payloads) => task.submitMany(payloads),
      async work(handle) {
        handler = handle
        const worker = createWorker({ tasks: [task], concurrency: CONCURRENCY })
        await worker.start()
        return () => worker.drain()
      },
      startProcesses: (count) => startProcesses(count, connection, broker),
      waiting: () => waiting(broker.admin),
      // The other connections of core end with the process.
      close: () => broker.close(),
    }
  },
}

async function startProcesses(maxWorkers: number, connection: string, broker: OpenBroker): Promise<WorkerProcesses> {
  const tallies = await mkdtemp(join(tmpdir(), 'zyqueue-bench-'))
  process.env[TALLY_FOLDER] = tallies
  const supervisor = createSupervisor({
    taskFile: fileURLToPath(new URL('./ours-tasks.js', import.meta.url)),
    connection,
    concurrency: CONCURRENCY,
    maxWorkers,
  })
  const ended = supervisor.run()
  let over = false
  void ended.finally(() => (over = true))
  while (((await broker.admin.workers?.())?.length ?? maxWorkers) < maxWorkers) {
    if (over) throw (await ended).error ?? new Error('The worker processes ended before they took jobs.')
    await sleep(5)
  }
  return {
    done: () => readTallies(tallies),
    async end() {
      supervisor.drain()
      await ended
      const done = readTallies(tallies)
      await rm(tallies, { recursive: true })
      return done
    },
  }
}

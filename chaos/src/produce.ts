/** A producer in its own process: submits jobs until SIGTERM and records the outcome of each submit. */
import { setTimeout as sleep } from 'node:timers/promises'
import { now, recordTo, seededRandom, type SubmitStatus } from '@zyqueue/broker-test-kit'
import { remoteTask, SubmitError } from '@zyqueue/core'
import { FOLDER, hashOf, statusOf, TASK, type Payload } from './load.ts'

const [seed = '', prefix = '', count = '', everyMs = ''] = process.argv.slice(2)
const record = recordTo(process.env[FOLDER] ?? '.')
const random = seededRandom(Number(seed))
const task = remoteTask<Payload>(process.env[TASK] ?? 'chaos')
let ending = false
process.on('SIGTERM', () => (ending = true))

const pending: Promise<void>[] = []
for (let number = 0; number < Number(count) && !ending;) {
  const size = random() < 0.3 ? Math.ceil(random() * 10) : 1
  const jobs = Array.from({ length: size }, () => newJob(number++))
  pending.push(submit(jobs))
  await sleep(Number(everyMs) * size * 2 * random())
}
await Promise.all(pending)
record({ type: 'finished', pid: process.pid, at: now() })

function newJob(number: number): Payload {
  const unlucky = random()
  return {
    job: `${unlucky < 0.01 ? 'failing' : prefix}-${prefix}${number}`,
    // Some jobs are long, so that workers always hold unsettled ones.
    ms: Math.floor(random() < 0.2 ? 100 + random() * 200 : random() * 20),
    fails: unlucky < 0.01 ? 99 : unlucky < 0.1 ? Math.ceil(random() * 3) : 0,
    filler: 'ü'.repeat(Math.floor(random() * (random() < 0.02 ? 30_000 : 100))),
  }
}

/** One job, or a list as one batch. Never rejects. */
async function submit(jobs: readonly Payload[]): Promise<void> {
  const delayed = random() < 0.1 ? { delayMs: Math.floor(random() * 500) } : {}
  for (const data of jobs) {
    record({ type: 'submitted', job: data.job, hash: hashOf(data), pid: process.pid, at: now() })
  }
  const answer = (status: (index: number) => SubmitStatus): void => {
    for (const [index, { job }] of jobs.entries()) record({ type: 'answered', job, status: status(index), at: now() })
  }
  try {
    const [only] = jobs
    await (jobs.length === 1 && only !== undefined
      ? task.submit(only, delayed)
      : task.submit(jobs, { ...delayed, batch: true }))
    answer(() => 'stored')
  } catch (error) {
    if (error instanceof SubmitError) {
      const [refused, unknown] = [error.refused, error.unknown].map((all) => new Set(all.map(({ index }) => index)))
      answer((index) => (refused?.has(index) ? 'refused' : unknown?.has(index) ? 'unknown' : 'stored'))
    } else answer(() => statusOf(error))
  }
}

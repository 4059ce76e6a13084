import { setTimeout as sleep } from 'node:timers/promises'
import { createWorker, producers, queueJob } from '@zyqueue/core'
import { PROMPT_DEAD_LETTERS, startRabbitmqCluster, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import plugin from '../src/index.ts'
import { eventually, message, openBroker, queueNamed, store, unique } from './support.ts'

const JOBS = 3_000
const BATCH = 50
const DELAYED = 400

/** A task that records its jobs, and a worker for it, which prefers the first of these nodes. Both end with the test. */
async function startWorker(name: string, nodes: readonly RabbitmqServer[]) {
  const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')
  const done = new Set<number>()
  const task = queueJob(
    { name, server: plugin, connection: `amqp://guest:guest@${hosts}?management=off` },
    (_worker, job: { readonly data: number }) => {
      done.add(job.data)
    },
  )
  // 3.10 leaves some consumers without jobs when their queue gets another leader: core notices, and replaces them.
  const worker = createWorker({ tasks: [task], stallMs: 2_000 })
  onTestFinished(async () => {
    await worker.drain()
    await producers.close()
  })
  await worker.start()
  return { task, done }
}

await describeWithServer('rabbitmq', 'a cluster of three nodes', () => {
  let nodes: readonly [RabbitmqServer, ...RabbitmqServer[]] | undefined
  beforeAll(async () => {
    nodes = await startRabbitmqCluster(3, { env: PROMPT_DEAD_LETTERS })
  })
  afterAll(async () => {
    await Promise.all((nodes ?? []).map((node) => node.stop()))
  })

  test('one dies while jobs wait for their time, with the leaders of all queues: none is lost', async () => {
    const [first, second, third] = nodes ?? []
    if (first === undefined || second === undefined || third === undefined) throw new Error('three nodes')
    const name = unique('delayed')
    // The leader of a queue is on the node of the connection that declares it: here the node that dies, to which no worker connects.
    const maker = await openBroker(third.url)
    await maker.declare([queueNamed(name)])
    await store(maker, [message(queueNamed(name), -1, { delayMs: 255 * 16 })])
    await maker.close()

    const { task, done } = await startWorker(name, [first, second])
    const numbers = Array.from({ length: DELAYED }, (_, number) => number)
    await Promise.all(numbers.map((number) => task.submit(number, { delayMs: 1_000 + (number % 40) * 75 })))
    await eventually('the first are due', () => done.size > DELAYED / 10)
    await third.kill('SIGKILL')
    // 3.10 sends some of them only to the node that had the leader before.
    await third.restart()
    await eventually('all jobs are done', () => numbers.every((number) => done.has(number)), 180_000)
  })

  test('one dies in the middle of the work: nothing that was acknowledged is lost', async () => {
    const [first, second, third] = nodes ?? []
    if (first === undefined || second === undefined || third === undefined) throw new Error('three nodes')
    // All begin at the node that dies: it has the queue's leader, and every connection.
    const { task, done } = await startWorker(unique('task'), [second, third, first])

    const submitting = submitAll()
    await eventually('the work is in its middle', () => done.size > JOBS / 5)
    await second.kill('SIGKILL')
    await submitting
    await eventually('all jobs are done', () => done.size === JOBS, 180_000)

    /** What was refused or is unknown is submitted again, as a user would: twice is no loss. */
    async function submitAll(): Promise<void> {
      for (let next = 0; next < JOBS; next += BATCH) {
        const batch = Array.from({ length: BATCH }, (_, index) => next + index)
        for (let tries = 0; !(await isStored(batch)); tries++) {
          expect(tries).toBeLessThan(1_000)
          await sleep(50)
        }
      }
    }

    async function isStored(batch: readonly number[]): Promise<boolean> {
      const submitted = await Promise.allSettled(batch.map((number) => task.submit(number)))
      return submitted.every(({ status }) => status === 'fulfilled')
    }
  })
})

import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { withTimeout } from '../wait-for.ts'
import type { Behaviours } from '../behaviour.ts'
import { seededRandom } from '../random.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, messageTo, numericBodies, textOf } from '../test-data.ts'

const jobs = 2000
const consumers = 4
/** The most releases of one job. */
const MAX_RELEASES = 3

export const concurrency: Behaviours = {
  '4 consumers ack or release 2,000 jobs at random, and each job is acked once': async (fixture) => {
    const seed = randomInt(2 ** 31)
    await withTimeout(
      `the jobs are done (seed ${seed})`,
      workAtRandom(fixture, seed).catch((error: unknown) => {
        throw new Error(`seed ${seed}`, { cause: error })
      }),
      6 * fixture.timeoutMs,
    )
  },
}

async function workAtRandom(fixture: Fixture, seed: number): Promise<void> {
  const random = seededRandom(seed)
  const queues = [await fixture.queue(), await fixture.queue()]
  const acked = new Map<string, number>()
  const held = new Set<string>()
  const doubled: string[] = []
  const releases = new Map<string, number>()

  const produce = async (): Promise<void> => {
    const bodies = [...numericBodies(jobs)]
    while (bodies.length > 0) {
      const batch = bodies.splice(0, 1 + Math.floor(random() * 60))
      await fixture.store(
        batch.map((body) => {
          const queue = random() < 0.5 ? queues[0] : queues[1]
          assert.ok(queue)
          return messageTo(queue, { body: bytesOf(body), priority: Math.floor(random() * 10) })
        }),
      )
    }
  }

  const consume = async (): Promise<void> => {
    const broker = await fixture.connectedBroker()
    const consumer = await fixture.consumer(queues, { broker, prefetch: 1 + Math.floor(random() * 80) })
    while (acked.size < jobs) {
      const max = 1 + Math.floor(random() * 40)
      const deliveries = await consumer.receive(max, { signal: new AbortController().signal })
      for (const body of deliveries.map(textOf)) {
        if (held.has(body) || acked.has(body)) doubled.push(body)
        held.add(body)
      }
      const done: (typeof deliveries)[number][] = []
      const back: (typeof deliveries)[number][] = []
      for (const delivery of deliveries) {
        const released = releases.get(textOf(delivery)) ?? 0
        const release = released < MAX_RELEASES && random() < 0.3
        if (release) releases.set(textOf(delivery), released + 1)
        ;(release ? back : done).push(delivery)
      }
      for (const delivery of [...done, ...back]) held.delete(textOf(delivery))
      for (const delivery of done) acked.set(textOf(delivery), (acked.get(textOf(delivery)) ?? 0) + 1)
      const results = await Promise.all([
        consumer.ack(done),
        consumer.release(back.map((delivery) => ({ delivery, delayMs: 0 }))),
      ])
      assert.ok(
        results.flat().every((result) => result.status === 'ok'),
        'every settlement must be ok',
      )
    }
    await consumer.close()
  }

  await Promise.all([produce(), ...Array.from({ length: consumers }, consume)])
  assert.deepEqual(doubled, [], 'jobs that were delivered to a second consumer, or again after their ack')
  assert.deepEqual(
    [...acked].filter(([, times]) => times !== 1),
    [],
  )
  for (const queue of queues) await fixture.expectNoneReady(queue)
}

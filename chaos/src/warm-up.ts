import { hostname } from 'node:os'
import { waitFor } from '@zyqueue/broker-test-kit'
import { withAdapter } from './adapter.ts'
import { LEASE_MS, type Scenario } from './scenario.ts'
import type { TargetKind } from './target.ts'

/** More than any job of a cell is delayed by. RabbitMQ has a queue for each bit of a delay in units of 16 ms: this sets six. */
const DELAY_MS = 63 * 16
const RECEIVE_TIMEOUT_MS = 90_000

/** Sends a message all ways that jobs go, to be delayed, received and rejected, so that every queue that they pass is made. */
export async function warmUp(scenario: Scenario, kind: TargetKind): Promise<void> {
  await withAdapter(scenario, kind, async (broker, queue) => {
    const message = { queue: queue.name, id: 'rehearsal', body: Buffer.from('{}'), headers: {}, priority: 4 }
    await waitFor(
      'a rehearsal that is stored',
      async () => (await broker.publish([{ ...message, delayMs: DELAY_MS }]))[0]?.status === 'stored',
      RECEIVE_TIMEOUT_MS,
    )
    const client = { name: 'rehearsal', host: hostname(), pid: process.pid }
    const consumer = await broker.consume({
      queues: [queue],
      prefetch: 1,
      leaseMs: LEASE_MS,
      consumerId: 'rehearsal',
      client,
    })
    const { signal } = new AbortController()
    const delivery = await waitFor(
      'the rehearsal',
      async () => (await consumer.receive(1, { signal }))[0],
      RECEIVE_TIMEOUT_MS,
    )
    const [rejected] = await consumer.reject([{ delivery, reason: 'ZYQ_REHEARSAL' }])
    if (rejected?.status !== 'ok') throw new Error(`the rehearsal’s rejection is ${rejected?.status}`)
    await consumer.close()
    await broker.admin.deadLetters.purge(queue.name)
    // Of several attempts more than one may have been stored.
    await broker.admin.purge(queue.name)
  })
}

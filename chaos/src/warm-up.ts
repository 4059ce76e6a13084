import { hostname } from 'node:os'
import { waitFor } from '@zyqueue/broker-test-kit'
import { withAdapter } from './adapter.ts'
import { LEASE_MS, type Scenario } from './scenario.ts'
import type { TargetKind } from './target.ts'

/** Longer than the delay of any job of a run. */
const DELAY_MS = 1_000
const RECEIVE_TIMEOUT_MS = 90_000

/** Delays, receives and rejects one message, so that the broker creates every queue that jobs pass through. */
export async function warmUp(scenario: Scenario, kind: TargetKind): Promise<void> {
  await withAdapter(scenario, kind, async (broker, queue) => {
    const message = { queue: queue.name, id: 'warm-up', body: Buffer.from('{}'), headers: {}, priority: 4 }
    await waitFor(
      'the warm-up message to be stored',
      async () => (await broker.publish([{ ...message, delayMs: DELAY_MS }]))[0]?.status === 'stored',
      RECEIVE_TIMEOUT_MS,
    )
    const client = { name: 'warm-up', host: hostname(), pid: process.pid }
    const consumer = await broker.consume({
      queues: [queue],
      prefetch: 1,
      leaseMs: LEASE_MS,
      consumerId: 'warm-up',
      client,
    })
    const { signal } = new AbortController()
    const delivery = await waitFor(
      'the warm-up message',
      async () => (await consumer.receive(1, { signal }))[0],
      RECEIVE_TIMEOUT_MS,
    )
    const [rejected] = await consumer.reject([{ delivery, reason: 'ZYQ_WARM_UP' }])
    if (rejected?.status !== 'ok') throw new Error(`Rejecting the warm-up message returned ${rejected?.status}.`)
    await consumer.close()
    await broker.admin.deadLetters.purge(queue.name)
    // Several publish attempts may have stored several messages.
    await broker.admin.purge(queue.name)
  })
}

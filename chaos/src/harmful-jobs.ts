/** Jobs and messages that a correct producer never sends. */
import { randomUUID } from 'node:crypto'
import { now, type SubmitStatus } from '@zyqueue/broker-test-kit'
import type { Broker, OutboundMessage } from '@zyqueue/core/broker'
import { remoteTask } from '@zyqueue/core'
import { withAdapter } from './adapter.ts'
import { hashOf, statusOf, type Payload } from './load.ts'
import type { Scenario } from './scenario.ts'
import type { TargetKind } from './target.ts'

/** Submits jobs that harm the process that runs them. All must become dead letters. */
export async function submitPoison(
  scenario: Scenario,
  poison: 'exit' | 'memory' | 'spin',
  count: number,
): Promise<void> {
  const task = remoteTask<Payload>(scenario.task, { connection: scenario.target.direct })
  for (let index = 0; index < count; index++) {
    const data: Payload = { job: `poison-${poison}${index}`, ms: 0, fails: 0, poison, filler: '' }
    scenario.record({ type: 'submitted', job: data.job, hash: hashOf(data), pid: process.pid, at: now() })
    let status: SubmitStatus = 'stored'
    try {
      await task.submit(data, { retries: 1 })
    } catch (error) {
      status = statusOf(error)
      if (status === 'refused') throw error
    }
    scenario.record({ type: 'answered', job: data.job, status, at: now() })
  }
}

/** Publishes messages without core that are not jobs. Each must be refused or become a dead letter. */
export async function publishGarbage(scenario: Scenario, kind: TargetKind, round: number): Promise<void> {
  await withAdapter(scenario, kind, async (broker) => {
    for (const [index, { body, headers = {} }] of garbage(broker).entries()) {
      const job = `garbage-${round}-${index}-${randomUUID().slice(0, 8)}`
      scenario.record({ type: 'submitted', job, hash: '', pid: process.pid, at: now() })
      const status = await publishOne(broker, {
        queue: scenario.task,
        id: job,
        body,
        headers,
        delayMs: 0,
        priority: 4,
      })
      scenario.record({ type: 'answered', job, status, at: now() })
    }
  })
}

async function publishOne(broker: Broker, message: OutboundMessage): Promise<SubmitStatus> {
  try {
    const [result] = await broker.publish([message])
    return result?.status ?? 'unknown'
  } catch {
    return 'refused'
  }
}

function garbage({ capabilities }: Broker): readonly { body: Uint8Array; headers?: Record<string, string> }[] {
  const tooLarge = capabilities.maxBodyBytes < 2 ** 28 ? [{ body: new Uint8Array(capabilities.maxBodyBytes + 1) }] : []
  return [
    { body: Buffer.from('{"job": ') },
    { body: Buffer.from('plain text') },
    { body: Buffer.from([0xff, 0xfe, 0xfd]) },
    { body: Buffer.alloc(0) },
    { body: Buffer.alloc(64) },
    { body: Buffer.from('{"no":"schema"}') },
    { body: Buffer.from('{}'), headers: { 'zyq-task': 'unknown' } },
    { body: Buffer.from('{}'), headers: { 'zyq-attempts': 'many' } },
    ...tooLarge,
  ]
}

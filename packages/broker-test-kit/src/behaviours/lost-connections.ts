import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker } from '@zyqueue/core/broker'
import { callAsCore, publishAsCore } from '../as-core.ts'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { callsOf, codeOf, outcomeOf } from '../calls.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, messageTo, numericBodies, textOf } from '../test-data.ts'

const never = new AbortController().signal

export const cutConnections: Behaviours = ifPresent(feature.killConnection, {
  'calls pending when the connection is cut settle, and their results are true': async (fixture) => {
    // The delays cut some requests and some answers; which ones depends on the machine.
    for (const afterMs of [0, 1, 5]) await breakPendingCalls(fixture, afterMs, (broker) => fixture.cut(broker))
  },

  'every call after the connection was cut settles': async (fixture) => {
    const broker = await fixture.connectedBroker()
    await fixture.cut(broker)
    await expectAllSettle(fixture, broker)
  },
})

/** One test with concurrent parts, because each takes as long as the adapter's timeout. */
export const silentConnections: Behaviours = ifPresent(
  feature.killConnection,
  ifPresent(feature.stallConnection, {
    'calls before and after the server stops answering settle, and their results are true': async (fixture) => {
      const silent = await fixture.connectedBroker()
      await fixture.stall(silent)
      const unreachable = await fixture.newBroker()
      await fixture.stall(unreachable)
      const connecting = outcomeOf(() => unreachable.connect())
      await Promise.all([
        breakPendingCalls(fixture, 0, (broker) => fixture.stall(broker)),
        expectAllSettle(fixture, silent),
        fixture.withLongTimeout('connect() to a server that does not answer', connecting),
      ])
      if (!fixture.canHeal) return
      const queue = await fixture.queue()
      for (const broker of [silent, unreachable]) {
        await fixture.heal(broker)
        await callAsCore(fixture, broker, 'connect()', () => broker.connect())
        await publishAsCore(fixture, broker, queue, 'after the stall')
      }
    },
  }),
)

async function expectAllSettle(fixture: Fixture, broker: Broker): Promise<void> {
  const queue = await fixture.queue()
  await Promise.all(
    [...callsOf(broker, queue)].map(async ([name, call]) => {
      const outcome = await fixture.withLongTimeout(name, outcomeOf(call))
      if ('error' in outcome) codeOf(broker, outcome.error)
    }),
  )
}

/** Starts all calls, breaks their connection, and compares their results with the jobs in the queue. */
async function breakPendingCalls(
  fixture: Fixture,
  afterMs: number,
  breakConnection: (broker: Broker) => Promise<void>,
): Promise<void> {
  const count = 20
  const queue = await fixture.queue()
  const empty = await fixture.queue()
  await fixture.storeBodies(queue, ...numericBodies(count))
  const broker = await fixture.connectedBroker()
  const consumer = await fixture.consumer([queue], { broker, prefetch: count })
  const idle = await fixture.consumer([empty], { broker })
  const deliveries = await fixture.take(consumer, count)
  const publishes = numericBodies(count).map(async (number) => {
    const body = `new ${number}`
    const outcome = await outcomeOf(() => broker.publish([messageTo(queue, { body: bytesOf(body) })]))
    return { body, outcome }
  })
  const acks = deliveries.map(async (delivery) => ({
    body: textOf(delivery),
    outcome: await outcomeOf(() => consumer.ack([delivery])),
  }))
  const others = [() => idle.receive(1, { signal: never }), ...callsOf(broker, empty).values()].map((call) =>
    outcomeOf<unknown>(call),
  )
  await sleep(afterMs)
  await breakConnection(broker)

  const results: Record<string, string[]> = {}
  for (const { body, outcome } of await fixture.withLongTimeout(
    'the pending publishes and acks',
    Promise.all([...publishes, ...acks]),
  )) {
    const status = 'value' in outcome ? outcome.value[0]?.status : undefined
    if (status !== undefined) (results[status] ??= []).push(body)
    if ('error' in outcome) codeOf(broker, outcome.error)
  }
  for (const outcome of await fixture.withLongTimeout('the other pending calls', Promise.all(others))) {
    if ('error' in outcome) codeOf(broker, outcome.error)
  }
  await fixture.withLongTimeout('close()', broker.close())
  // A server still delivers jobs to the consumer of a stalled connection, so cut it.
  await fixture.cut(broker)

  const found = new Set((await fixture.takeRemaining(queue)).map(textOf))
  const missing = (results['stored'] ?? []).filter((body) => !found.has(body))
  assert.deepEqual(missing, [], 'the results are stored, but the jobs are not in the queue')
  const unexpected = [...(results['refused'] ?? []), ...(results['ok'] ?? [])].filter((body) => found.has(body))
  assert.deepEqual(unexpected, [], 'the results are refused or ok, but the jobs are in the queue')
}

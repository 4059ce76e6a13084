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
    // While requests are on their way, and while answers are: which of them it is, is a matter of luck.
    for (const afterMs of [0, 1, 5]) await breakUnderway(fixture, afterMs, (broker) => fixture.cut(broker))
  },

  'every call after the connection was cut settles': async (fixture) => {
    const broker = await fixture.connectedBroker()
    await fixture.cut(broker)
    await expectAllSettle(fixture, broker)
  },
})

/** One test: each part takes as long as an adapter's patience with its engine. */
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
        breakUnderway(fixture, 0, (broker) => fixture.stall(broker)),
        expectAllSettle(fixture, silent),
        fixture.withLongTimeout('connect() to a server that says nothing', connecting),
      ])
      if (!fixture.canHeal) return
      const queue = await fixture.queue()
      for (const broker of [silent, unreachable]) {
        await fixture.heal(broker)
        await callAsCore(fixture, broker, 'connect()', () => broker.connect())
        await publishAsCore(fixture, broker, queue, 'after the silence')
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

/** Has calls of all kinds begin, breaks their connection, and holds what they told against what is there. */
async function breakUnderway(
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

  const told: Record<string, string[]> = {}
  for (const { body, outcome } of await fixture.withLongTimeout(
    'what was under way',
    Promise.all([...publishes, ...acks]),
  )) {
    const status = 'value' in outcome ? outcome.value[0]?.status : undefined
    if (status !== undefined) (told[status] ??= []).push(body)
    if ('error' in outcome) codeOf(broker, outcome.error)
  }
  for (const outcome of await fixture.withLongTimeout('what else was under way', Promise.all(others))) {
    if ('error' in outcome) codeOf(broker, outcome.error)
  }
  await fixture.withLongTimeout('close()', broker.close())
  // A server gives jobs to whom it takes to be there still, as behind a connection that has fallen silent.
  await fixture.cut(broker)

  const found = new Set((await fixture.takeRemaining(queue)).map(textOf))
  const missing = (told['stored'] ?? []).filter((body) => !found.has(body))
  assert.deepEqual(missing, [], 'stored, but not there')
  const unexpected = [...(told['refused'] ?? []), ...(told['ok'] ?? [])].filter((body) => found.has(body))
  assert.deepEqual(unexpected, [], 'refused or acknowledged, but there')
}

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker } from '@zyqueue/core/broker'
import { asCore, publishAsCore } from '../as-core.ts'
import type { Behaviours } from '../behaviour.ts'
import { callsOf, codeOf, outcomeOf } from '../calls.ts'
import { bytesOf, messageTo, numbered, textOf, type Stage } from '../stage.ts'

const never = new AbortController().signal

/** Where the harness has `killConnection`. */
export const cutConnections: Behaviours = {
  'calls under way when the connection is cut settle, and what they told is so': async (stage) => {
    // While requests are on their way, and while answers are: which of them it is, is a matter of luck.
    for (const afterMs of [0, 1, 5]) await breakUnderway(stage, afterMs, (broker) => stage.cut(broker))
  },

  'after the connection was cut, every call settles': async (stage) => {
    const broker = await stage.connectedBroker()
    await stage.cut(broker)
    await expectAllSettle(stage, broker)
  },
}

/** Where the harness has both. One test: each part takes as long as an adapter's patience with its engine. */
export const silentConnections: Behaviours = {
  'whatever is called before and after the connection falls silent settles, and what it told is so': async (stage) => {
    const silent = await stage.connectedBroker()
    await stage.stall(silent)
    const unreachable = await stage.newBroker()
    await stage.stall(unreachable)
    const connecting = outcomeOf(() => unreachable.connect())
    await Promise.all([
      breakUnderway(stage, 0, (broker) => stage.stall(broker)),
      expectAllSettle(stage, silent),
      stage.settledLate('connect() to a server that says nothing', connecting),
    ])
    if (!stage.heals) return
    const queue = await stage.queue()
    for (const broker of [silent, unreachable]) {
      await stage.heal(broker)
      await asCore(stage, broker, 'connect()', () => broker.connect())
      await publishAsCore(stage, broker, queue, 'after the silence')
    }
  },
}

async function expectAllSettle(stage: Stage, broker: Broker): Promise<void> {
  const queue = await stage.queue()
  await Promise.all(
    [...callsOf(broker, queue)].map(async ([name, call]) => {
      const outcome = await stage.settledLate(name, outcomeOf(call))
      if ('error' in outcome) codeOf(broker, outcome.error)
    }),
  )
}

/** Has calls of all kinds begin, breaks their connection, and holds what they told against what is there. */
async function breakUnderway(
  stage: Stage,
  afterMs: number,
  breakConnection: (broker: Broker) => Promise<void>,
): Promise<void> {
  const count = 20
  const queue = await stage.queue()
  const empty = await stage.queue()
  await stage.storeBodies(queue, ...numbered(count))
  const broker = await stage.connectedBroker()
  const consumer = await stage.consumer([queue], { broker, prefetch: count })
  const idle = await stage.consumer([empty], { broker })
  const deliveries = await stage.take(consumer, count)
  const publishes = numbered(count).map(async (number) => {
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
  for (const { body, outcome } of await stage.settledLate('what was under way', Promise.all([...publishes, ...acks]))) {
    const status = 'value' in outcome ? outcome.value[0]?.status : undefined
    if (status !== undefined) (told[status] ??= []).push(body)
    if ('error' in outcome) codeOf(broker, outcome.error)
  }
  for (const outcome of await stage.settledLate('what else was under way', Promise.all(others))) {
    if ('error' in outcome) codeOf(broker, outcome.error)
  }
  await stage.settledLate('close()', broker.close())
  // A server gives jobs to whom it takes to be there still, as behind a connection that has fallen silent.
  await stage.cut(broker)

  const found = new Set((await stage.remaining(queue)).map(textOf))
  const missing = (told['stored'] ?? []).filter((body) => !found.has(body))
  assert.deepEqual(missing, [], 'stored, but not there')
  const unexpected = [...(told['refused'] ?? []), ...(told['ok'] ?? [])].filter((body) => found.has(body))
  assert.deepEqual(unexpected, [], 'refused or acknowledged, but there')
}

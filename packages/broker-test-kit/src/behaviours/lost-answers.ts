import assert from 'node:assert/strict'
import type { Broker, OutboundMessage } from '@zyqueue/core/broker'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { publishAsCore } from '../as-core.ts'
import { outcomeOf } from '../calls.ts'
import { bytesOf, messageTo, newConsumerId, numbered, textOf, type Stage } from '../stage.ts'

export const lostAnswers: Behaviours = having(feature.loseAnswer, {
  'a publish whose answer is lost is not sent again, and is told as it is': async (stage) => {
    const queue = await stage.queue()
    const broker = await stage.connectedBroker()
    await publishAsCore(stage, broker, queue, 'before')
    const told: { readonly message: OutboundMessage; readonly status: string }[] = []
    for (const body of numbered(3)) {
      const message = messageTo(queue, { body: bytesOf(body) })
      const outcome = await losingAnswer(stage, broker, () => broker.publish([message]))
      told.push({ message, status: 'value' in outcome ? (outcome.value[0]?.status ?? 'no result') : 'rejected' })
      // A client that sends again when it has reconnected has done so when this is stored.
      await publishAsCore(stage, broker, queue, `after ${body}`)
    }
    const found = (await stage.remaining(queue)).map(textOf)
    for (const [index, { message, status }] of told.entries()) {
      const copies = found.filter((body) => body === textOf(message)).length
      const job = `job ${index} of the queue ${queue.name}, whose publish was told as "${status}"`
      assert.ok(copies <= 1, `${job}, is stored ${copies} times`)
      if (status === 'stored') assert.equal(copies, 1, `${job}, is not there`)
      if (status === 'refused' || status === 'rejected') assert.equal(copies, 0, `${job}, is there`)
    }
  },

  ...having(feature.idempotentPublish, {
    'a publish whose answer is lost may be repeated': async (stage) => {
      const queue = await stage.queue()
      const broker = await stage.connectedBroker()
      await publishAsCore(stage, broker, queue, 'before')
      const message = messageTo(queue, { body: bytesOf('once') })
      await losingAnswer(stage, broker, () => broker.publish([message]))
      await stage.store([message])
      const copies = (await stage.remaining(queue)).filter(({ id }) => id === message.id)
      assert.equal(
        copies.length,
        1,
        `the job ${message.id} of the queue ${queue.name} is stored ${copies.length} times`,
      )
    },
  }),

  'a release whose answer is lost loses no job, and doubles none where release is native': async (stage) => {
    const bodies = numbered(10)
    const queue = await stage.queue()
    await stage.storeBodies(queue, ...bodies, 'held')
    const broker = await stage.connectedBroker()
    const consumerId = newConsumerId()
    const prefetch = bodies.length + 1
    const consumer = await stage.consumer([queue], { broker, consumerId, prefetch })
    const deliveries = await stage.take(consumer, prefetch)
    const releases = deliveries
      .filter((delivery) => textOf(delivery) !== 'held')
      .map((delivery) => ({ delivery, delayMs: 0, headers: { 'x-note': 'released' } }))
    await losingAnswer(stage, broker, () => consumer.release(releases))
    const { leases } = stage.broker
    if (leases.kind === 'renewable') await stage.settled('reclaim()', leases.reclaim(consumerId, []))
    else await stage.cut(broker)

    const found: string[] = []
    const heir = await stage.consumer([queue])
    const { signal } = new AbortController()
    // What was held and not released comes back when the lease has ended: then nothing of the others is to come either.
    await stage.eventually(`every job of the queue ${queue.name} is there after its release`, async () => {
      const returned = await stage.settled('receive()', heir.receive(prefetch, { signal }))
      found.push(...returned.map(textOf))
      await stage.ackAll(heir, returned)
      return [...bodies, 'held'].every((body) => found.includes(body))
    })
    if (stage.capabilities.release !== 'native') return
    await stage.settled('consumer.close()', heir.close())
    found.push(...(await stage.remaining(queue)).map(textOf))
    for (const [index, body] of bodies.entries()) {
      const copies = found.filter((each) => each === body).length
      assert.equal(copies, 1, `job ${index} of the queue ${queue.name} is there ${copies} times after its release`)
    }
  },
})

/** What becomes of a call whose request reaches the engine and whose connection ends before the answer. */
async function losingAnswer<Value>(
  stage: Stage,
  broker: Broker,
  call: () => Promise<Value>,
): ReturnType<typeof outcomeOf<Value>> {
  const losing = stage.loseAnswer(broker)
  const calling = outcomeOf(call)
  await losing
  return stage.settledLate('the call whose answer was lost', calling)
}

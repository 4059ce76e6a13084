import assert from 'node:assert/strict'
import type { Broker, Consumer, QueueSpec } from '@zyqueue/core/broker'
import { asCore, expectLost, publishAsCore } from '../as-core.ts'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { callsOf, outcomeOf } from '../calls.ts'
import { messageTo, textOf, type Stage } from '../stage.ts'

const never = new AbortController().signal

export const reconnecting: Behaviours = having(
  feature.killConnection,
  having(feature.healConnection, {
    'without its connection, what rejects has a code that has core connect again': async (stage) => {
      const queue = await stage.queue()
      const broker = await stage.connectedBroker()
      await stage.cut(broker)
      await callWithoutConnection(stage, broker, queue)
      await expectRefused(stage, broker)
    },

    'a connect that was refused can be repeated when the engine is there': async (stage) => {
      const queue = await stage.queue()
      const broker = await stage.newBroker()
      await stage.cut(broker)
      await expectRefused(stage, broker)
      await stage.heal(broker)
      await asCore(stage, broker, 'connect()', () => broker.connect())
      await publishAsCore(stage, broker, queue, 'at last')
      assert.deepEqual((await stage.remaining(queue)).map(textOf), ['at last'])
    },

    'after each loss of the connection, connect, publish and consume work again': async (stage) => {
      const [queue, spare] = [await stage.queue(), await stage.queue()]
      const broker = await stage.connectedBroker()
      let consumer = await stage.consumer([queue], { broker })
      for (const body of ['after the first loss', 'after the second loss']) {
        const receiving = outcomeOf(() => consumer.receive(1, { signal: never }))
        await stage.cut(broker)
        await callWithoutConnection(stage, broker, spare)
        const received = await stage.settledLate('the receive() under way', receiving)
        if ('error' in received) expectLost(broker, 'receive()', received.error)
        await stage.heal(broker)
        await asCore(stage, broker, 'declare()', () => broker.declare([queue]))
        await publishAsCore(stage, broker, queue, body)
        if (stage.broker.leases.kind !== 'renewable') {
          await stage.settledLate('consumer.close()', consumer.close())
          consumer = await asCore(stage, broker, 'consume()', () => stage.consumer([queue], { broker }))
        }
        await takeAsCore(stage, broker, consumer, body)
        for (const [name, call] of callsOf(broker, spare)) await asCore(stage, broker, `${name}()`, call)
      }
    },
  }),
)

/** Publishes until a publish finds the connection lost. */
async function untilLost(stage: Stage, broker: Broker, queue: QueueSpec): Promise<void> {
  await stage.eventually('publish() fails without a connection', async () => {
    const outcome = await stage.settledLate(
      'publish()',
      outcomeOf(() => broker.publish([messageTo(queue)])),
    )
    if ('error' in outcome) expectLost(broker, 'publish()', outcome.error)
    return 'error' in outcome || outcome.value[0]?.status !== 'stored'
  })
}

/** Makes every call; each that rejects must say that the connection is lost. */
async function callWithoutConnection(stage: Stage, broker: Broker, queue: QueueSpec): Promise<void> {
  await untilLost(stage, broker, queue)
  for (const [name, call] of callsOf(broker, queue)) {
    const outcome = await stage.settledLate(name, outcomeOf(call))
    if ('error' in outcome) expectLost(broker, `${name}()`, outcome.error)
  }
}

async function expectRefused(stage: Stage, broker: Broker): Promise<void> {
  const outcome = await stage.settledLate(
    'connect()',
    outcomeOf(() => broker.connect()),
  )
  assert.ok('error' in outcome, 'connect() to an engine that cannot be reached must reject')
  expectLost(broker, 'connect()', outcome.error)
}

/** Receives and acknowledges until there is a job with this body. */
async function takeAsCore(stage: Stage, broker: Broker, consumer: Consumer, body: string): Promise<void> {
  await stage.eventually(`the job "${body}" is delivered`, async () => {
    const deliveries = await asCore(stage, broker, 'receive()', () => consumer.receive(10, { signal: never }))
    await stage.ackAll(consumer, deliveries)
    return deliveries.some((delivery) => textOf(delivery) === body)
  })
}

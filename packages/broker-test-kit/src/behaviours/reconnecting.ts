import assert from 'node:assert/strict'
import type { Broker, Consumer, QueueSpec } from '@zyqueue/core/broker'
import { callAsCore, expectConnectionLost, publishAsCore } from '../as-core.ts'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { callsOf, outcomeOf } from '../calls.ts'
import type { Fixture } from '../fixture.ts'
import { messageTo, textOf } from '../test-data.ts'

const never = new AbortController().signal

export const reconnecting: Behaviours = ifPresent(
  feature.killConnection,
  ifPresent(feature.healConnection, {
    'calls without a connection reject with a code after which core reconnects': async (fixture) => {
      const queue = await fixture.queue()
      const broker = await fixture.connectedBroker()
      await fixture.cut(broker)
      await callWithoutConnection(fixture, broker, queue)
      await expectRefused(fixture, broker)
    },

    'connect may be repeated after it was refused': async (fixture) => {
      const queue = await fixture.queue()
      const broker = await fixture.newBroker()
      await fixture.cut(broker)
      await expectRefused(fixture, broker)
      await fixture.heal(broker)
      await callAsCore(fixture, broker, 'connect()', () => broker.connect())
      await publishAsCore(fixture, broker, queue, 'at last')
      assert.deepEqual((await fixture.takeRemaining(queue)).map(textOf), ['at last'])
    },

    'connect, publish and consume work again after each loss of the connection': async (fixture) => {
      const [queue, spare] = [await fixture.queue(), await fixture.queue()]
      const broker = await fixture.connectedBroker()
      let consumer = await fixture.consumer([queue], { broker })
      for (const body of ['after the first loss', 'after the second loss']) {
        const receiving = outcomeOf(() => consumer.receive(1, { signal: never }))
        await fixture.cut(broker)
        await callWithoutConnection(fixture, broker, spare)
        const received = await fixture.withLongTimeout('the pending receive()', receiving)
        if ('error' in received) expectConnectionLost(broker, 'receive()', received.error)
        await fixture.heal(broker)
        await callAsCore(fixture, broker, 'declare()', () => broker.declare([queue]))
        await publishAsCore(fixture, broker, queue, body)
        if (fixture.broker.leases.kind !== 'renewable') {
          await fixture.withLongTimeout('consumer.close()', consumer.close())
          consumer = await callAsCore(fixture, broker, 'consume()', () => fixture.consumer([queue], { broker }))
        }
        await takeAsCore(fixture, broker, consumer, body)
        for (const [name, call] of callsOf(broker, spare)) await callAsCore(fixture, broker, `${name}()`, call)
      }
    },
  }),
)

/** Publishes until a publish finds the connection lost. */
async function untilLost(fixture: Fixture, broker: Broker, queue: QueueSpec): Promise<void> {
  await fixture.eventually('publish() fails without a connection', async () => {
    const outcome = await fixture.withLongTimeout(
      'publish()',
      outcomeOf(() => broker.publish([messageTo(queue)])),
    )
    if ('error' in outcome) expectConnectionLost(broker, 'publish()', outcome.error)
    return 'error' in outcome || outcome.value[0]?.status !== 'stored'
  })
}

/** Makes every call. A call that rejects must do so with a code for a lost connection. */
async function callWithoutConnection(fixture: Fixture, broker: Broker, queue: QueueSpec): Promise<void> {
  await untilLost(fixture, broker, queue)
  for (const [name, call] of callsOf(broker, queue)) {
    const outcome = await fixture.withLongTimeout(name, outcomeOf(call))
    if ('error' in outcome) expectConnectionLost(broker, `${name}()`, outcome.error)
  }
}

async function expectRefused(fixture: Fixture, broker: Broker): Promise<void> {
  const outcome = await fixture.withLongTimeout(
    'connect()',
    outcomeOf(() => broker.connect()),
  )
  assert.ok('error' in outcome, 'connect() to an engine that cannot be reached must reject')
  expectConnectionLost(broker, 'connect()', outcome.error)
}

/** Receives and acknowledges until there is a job with this body. */
async function takeAsCore(fixture: Fixture, broker: Broker, consumer: Consumer, body: string): Promise<void> {
  await fixture.eventually(`the job "${body}" is delivered`, async () => {
    const deliveries = await callAsCore(fixture, broker, 'receive()', () => consumer.receive(10, { signal: never }))
    await fixture.ackAll(consumer, deliveries)
    return deliveries.some((delivery) => textOf(delivery) === body)
  })
}

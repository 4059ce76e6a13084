import assert from 'node:assert/strict'
import type { Broker, QueueSpec } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { callsOf } from '../calls.ts'
import type { Fixture } from '../fixture.ts'

/** More calls of each kind than the number of additional connections that a broker may keep. */
const ROUNDS = 6
const SLACK = 3

export const openConnections: Behaviours = ifPresent(feature.openConnections, {
  'admin calls leave no connection open': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    await callAdmin(fixture, broker, queue, 2)
    const before = fixture.openConnections(broker)
    await callAdmin(fixture, broker, queue, ROUNDS)
    // The proxy may notice the end of a connection a little later than the adapter.
    await fixture.eventually(
      `no more than ${before + SLACK} connections after ${ROUNDS} calls of each kind`,
      () => fixture.openConnections(broker) <= before + SLACK,
    )
  },

  'close leaves no connection open': async (fixture) => {
    const queue = await fixture.queue()
    const broker = await fixture.connectedBroker()
    await fixture.consumer([queue], { broker })
    await callAdmin(fixture, broker, queue, 1)
    assert.ok(fixture.openConnections(broker) > 0, 'a connected broker must have a connection')
    await fixture.withTimeout('close()', broker.close())
    await fixture.eventually('no connection is open after close()', () => fixture.openConnections(broker) === 0)
  },
})

async function callAdmin(fixture: Fixture, broker: Broker, queue: QueueSpec, rounds: number): Promise<void> {
  const calls = [...callsOf(broker, queue)].filter(([name]) => name.startsWith('admin.'))
  for (let round = 0; round < rounds; round++) {
    await Promise.all(calls.map(([name, call]) => fixture.withTimeout(`${name}()`, call())))
  }
}

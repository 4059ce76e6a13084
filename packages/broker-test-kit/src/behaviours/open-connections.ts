import assert from 'node:assert/strict'
import type { Broker, QueueSpec } from '@zyqueue/core/broker'
import type { Behaviours } from '../behaviour.ts'
import { callsOf } from '../calls.ts'
import type { Stage } from '../stage.ts'

/** More calls of one kind than a broker may have connections left over. */
const ROUNDS = 6
const SLACK = 3

/** If the harness has `openConnections`. */
export const openConnections: Behaviours = {
  'calls of admin leave no connections behind': async (stage) => {
    const queue = await stage.queue()
    const broker = await stage.connectedBroker()
    await callAdmin(stage, broker, queue, 2)
    const before = stage.openConnections(broker)
    await callAdmin(stage, broker, queue, ROUNDS)
    // What an adapter closes, the engine may see closed a little later.
    await stage.eventually(
      `no more than ${before + SLACK} connections after ${ROUNDS} calls of each kind`,
      () => stage.openConnections(broker) <= before + SLACK,
    )
  },

  'close leaves no connection open': async (stage) => {
    const queue = await stage.queue()
    const broker = await stage.connectedBroker()
    await stage.consumer([queue], { broker })
    await callAdmin(stage, broker, queue, 1)
    assert.ok(stage.openConnections(broker) > 0, 'a broker that is connected has a connection')
    await stage.settled('close()', broker.close())
    await stage.eventually('no connection is open after close()', () => stage.openConnections(broker) === 0)
  },
}

async function callAdmin(stage: Stage, broker: Broker, queue: QueueSpec, rounds: number): Promise<void> {
  const calls = [...callsOf(broker, queue)].filter(([name]) => name.startsWith('admin.'))
  for (let round = 0; round < rounds; round++) {
    await Promise.all(calls.map(([name, call]) => stage.settled(`${name}()`, call())))
  }
}

import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { queryObjects } from 'node:v8'
import type { Consumer, QueueSpec } from '@zyqueue/core/broker'
import type { Behaviours } from '../behaviour.ts'
import type { Fixture } from '../fixture.ts'
import { numericBodies } from '../test-data.ts'

/** Calls of one round. One leaked object per call is ten times the other changes in the process. */
const ABORTED = 500
const WITH_JOB = 100

export const listeners: Behaviours = {
  'receive leaves no listener on its signal': async (fixture) => {
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue])
    const { signal } = new AbortController()
    for (const index of numericBodies(5)) {
      await fixture.storeBodies(queue, index)
      await fixture.ackAll(consumer, await receiveOne(fixture, consumer, signal))
      await fixture.eventually(
        `the signal of receive ${index} of the queue ${queue.name} has no listener when the call has settled`,
        () => getEventListeners(signal, 'abort').length === 0,
      )
    }
  },
}

/** Runs exclusively, because it counts the objects of the whole process. */
export const memory: Behaviours = {
  'receive leaks no objects': async (fixture) => {
    const queue = await fixture.queue()
    const consumer = await fixture.consumer([queue])
    await receiveOften(fixture, queue, consumer)
    // One growth may be chance. A leak grows in each round.
    const growths: number[] = []
    for (let round = 0; round < 2; round++) {
      const before = countObjects()
      await receiveOften(fixture, queue, consumer)
      const growth = countObjects() - before
      if (growth < WITH_JOB / 2) return
      growths.push(growth)
    }
    assert.fail(
      `After ${ABORTED} calls of receive that were aborted and ${WITH_JOB} that returned a job of the queue ${queue.name}, ` +
        `the number of objects has grown in each round: ${growths.join(', ')}`,
    )
  },
}

async function receiveOften(fixture: Fixture, queue: QueueSpec, consumer: Consumer): Promise<void> {
  for (let call = 0; call < ABORTED; call++) {
    const controller = new AbortController()
    const receiving = consumer.receive(1, { signal: controller.signal })
    controller.abort()
    await fixture.withTimeout('an aborted receive()', receiving)
  }
  await fixture.storeBodies(queue, ...numericBodies(WITH_JOB))
  const { signal } = new AbortController()
  for (let call = 0; call < WITH_JOB; call++) {
    await fixture.ackAll(consumer, await receiveOne(fixture, consumer, signal))
  }
}

/** Receives one delivery with this signal. */
function receiveOne(fixture: Fixture, consumer: Consumer, signal: AbortSignal): ReturnType<Consumer['receive']> {
  return fixture.eventually('a delivery', async () => {
    const deliveries = await fixture.withTimeout('receive()', consumer.receive(1, { signal }))
    return deliveries.length > 0 && deliveries
  })
}

/** The number of reachable objects. V8 collects the others first. */
function countObjects(): number {
  return queryObjects(Object, { format: 'count' })
}

import assert from 'node:assert/strict'
import type { Broker, CallResult, Delivery, JobUpdate, SettleResult } from '@zyqueue/core/broker'
import { feature, ifPresent, type Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { expectStatuses } from '../expect-statuses.ts'
import type { Fixture } from '../fixture.ts'
import { bytesOf, messageTo, textOf } from '../test-data.ts'

/** A pending call whose job a consumer holds. */
async function startCall(fixture: Fixture) {
  const { calls } = fixture.broker
  assert.ok(calls !== undefined)
  const queue = await fixture.queue()
  const message = messageTo(queue, { body: bytesOf('"data"') })
  const updates: JobUpdate[] = []
  const abort = new AbortController()
  const ended = fixture.inBackground(
    calls.call(message, { signal: abort.signal, onUpdate: (each) => updates.push(each) }),
  )
  const broker = await fixture.connectedBroker()
  const consumer = await fixture.consumer([queue], { broker })
  const delivery = await fixture.takeOne(consumer)
  const answer = async (body: string): Promise<void> => {
    const results = await fixture.withTimeout('answer()', answerBy(broker, delivery, body))
    expectStatuses('answer()', [delivery], results, 'ok')
  }
  return { queue, message, updates, abort, ended, broker, consumer, delivery, answer }
}

export const calls: Behaviours = ifPresent(feature.calls, {
  'a call resolves to the answer, and its delivery is marked as foreground': async (fixture) => {
    const scenario = await startCall(fixture)
    assert.equal(scenario.delivery.id, scenario.message.id)
    assert.equal(scenario.delivery.foreground, true)
    assert.equal(textOf(scenario.delivery), '"data"')
    await scenario.answer('"result"')
    assert.equal(bodyOf(await fixture.withTimeout('the call', scenario.ended)), '"result"')
    await fixture.expectNoneReady(scenario.queue, scenario.consumer)
  },

  'an ack answers a call with an empty body': async (fixture) => {
    const scenario = await startCall(fixture)
    await fixture.ackAll(scenario.consumer, [scenario.delivery])
    assert.equal(bodyOf(await fixture.withTimeout('the call', scenario.ended)), '')
  },

  'reject sends the reason to the caller and keeps no dead letter': async (fixture) => {
    const scenario = await startCall(fixture)
    const reason = 'ZYQ_JOB_FAILED: grün'
    await fixture.reject(scenario.consumer, { delivery: scenario.delivery, reason })
    assert.deepEqual(await fixture.withTimeout('the call', scenario.ended), { status: 'failed', reason })
    const dead = await fixture.broker.admin.deadLetters.list(scenario.queue.name, { limit: 1 })
    assert.deepEqual(dead, [])
    await fixture.expectNoneReady(scenario.queue, scenario.consumer)
  },

  'updates arrive in order, before the result': async (fixture) => {
    const scenario = await startCall(fixture)
    const sent: readonly JobUpdate[] = [
      { kind: 'progress', done: 1, of: 3 },
      { kind: 'data', body: Uint8Array.of(0, 0xff) },
      { kind: 'warning', text: 'grün' },
      { kind: 'data', body: bytesOf('last') },
    ]
    for (const update of sent) scenario.broker.calls?.sendUpdate(scenario.delivery, update)
    await scenario.answer('1')
    await fixture.withTimeout('the call', scenario.ended)
    const received = scenario.updates.map((update) =>
      update.kind === 'data' ? { ...update, body: Uint8Array.from(update.body) } : update,
    )
    assert.deepEqual(received, sent)
  },

  'the call continues if its job goes to another owner': async (fixture) => {
    const scenario = await startCall(fixture)
    await fixture.withTimeout('consumer.close()', scenario.consumer.close())
    const { delivery } = await fixture.takeOneOf(scenario.queue)
    assert.equal(delivery.id, scenario.message.id)
    await fixture.withTimeout('answer()', answerBy(fixture.broker, delivery, 'again'))
    assert.equal(bodyOf(await fixture.withTimeout('the call', scenario.ended)), 'again')
  },

  'an aborted call rejects, and a late answer has no effect': async (fixture) => {
    const scenario = await startCall(fixture)
    const reason = new Error('enough')
    scenario.abort.abort(reason)
    const outcome = await fixture.withTimeout(
      'the call',
      outcomeOf(() => scenario.ended),
    )
    assert.ok('error' in outcome && outcome.error === reason, 'the call must reject with the reason of its signal')
    await fixture.withTimeout('answer()', answerBy(scenario.broker, scenario.delivery, 'late'))
  },

  'close settles pending calls': async (fixture) => {
    const scenario = await startCall(fixture)
    await fixture.withTimeout('close()', fixture.broker.close())
    const outcome = await fixture.withTimeout(
      'the call',
      outcomeOf(() => scenario.ended),
    )
    if ('value' in outcome) assert.equal(outcome.value.status, 'unknown')
  },
})

async function answerBy({ calls }: Broker, delivery: Delivery, body: string): Promise<readonly SettleResult[]> {
  assert.ok(calls !== undefined)
  return calls.answer([{ delivery, body: bytesOf(body) }])
}

function bodyOf(result: CallResult): string {
  assert.equal(result.status, 'done')
  return result.status === 'done' ? textOf(result) : ''
}

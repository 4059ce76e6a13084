import assert from 'node:assert/strict'
import type { Broker, CallResult, Delivery, JobUpdate, SettleResult } from '@zyqueue/core/broker'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { expectStatuses } from '../expect-statuses.ts'
import { bytesOf, messageTo, textOf, type Stage } from '../stage.ts'

/** A call that is under way, in the hands of a worker. */
async function called(stage: Stage) {
  const { calls } = stage.broker
  assert.ok(calls !== undefined)
  const queue = await stage.queue()
  const message = messageTo(queue, { body: bytesOf('"data"') })
  const updates: JobUpdate[] = []
  const abort = new AbortController()
  const ended = stage.later(calls.call(message, { signal: abort.signal, onUpdate: (each) => updates.push(each) }))
  const broker = await stage.connectedBroker()
  const consumer = await stage.consumer([queue], { broker })
  const delivery = await stage.takeOne(consumer)
  const answer = async (body: string): Promise<void> => {
    const results = await stage.settled('answer()', answerBy(broker, delivery, body))
    expectStatuses('answer()', [delivery], results, 'ok')
  }
  return { queue, message, updates, abort, ended, broker, consumer, delivery, answer }
}

export const calls: Behaviours = having(feature.calls, {
  'a call resolves to what was answered; its delivery says that it is waited for': async (stage) => {
    const scene = await called(stage)
    assert.equal(scene.delivery.id, scene.message.id)
    assert.equal(scene.delivery.foreground, true)
    assert.equal(textOf(scene.delivery), '"data"')
    await scene.answer('"result"')
    assert.equal(bodyOf(await stage.settled('the call', scene.ended)), '"result"')
    await stage.expectNoneReady(scene.queue, scene.consumer)
  },

  'an ack answers nothing, which is an answer': async (stage) => {
    const scene = await called(stage)
    await stage.ackAll(scene.consumer, [scene.delivery])
    assert.equal(bodyOf(await stage.settled('the call', scene.ended)), '')
  },

  'to reject tells the caller why, and leaves no dead letter': async (stage) => {
    const scene = await called(stage)
    const reason = 'ZYQ_JOB_FAILED: grün'
    await stage.reject(scene.consumer, { delivery: scene.delivery, reason })
    assert.deepEqual(await stage.settled('the call', scene.ended), { status: 'failed', reason })
    const dead = await stage.broker.admin.deadLetters.list(scene.queue.name, { limit: 1 })
    assert.deepEqual(dead, [])
    await stage.expectNoneReady(scene.queue, scene.consumer)
  },

  'updates come in their order, before the end': async (stage) => {
    const scene = await called(stage)
    const sent: readonly JobUpdate[] = [
      { kind: 'progress', done: 1, of: 3 },
      { kind: 'data', body: Uint8Array.of(0, 0xff) },
      { kind: 'warning', text: 'grün' },
      { kind: 'data', body: bytesOf('last') },
    ]
    for (const update of sent) scene.broker.calls?.sendUpdate(scene.delivery, update)
    await scene.answer('1')
    await stage.settled('the call', scene.ended)
    const received = scene.updates.map((update) =>
      update.kind === 'data' ? { ...update, body: Uint8Array.from(update.body) } : update,
    )
    assert.deepEqual(received, sent)
  },

  'the job of a lost owner goes to another, and the call goes on': async (stage) => {
    const scene = await called(stage)
    await stage.settled('consumer.close()', scene.consumer.close())
    const { delivery } = await stage.takeOneOf(scene.queue)
    assert.equal(delivery.id, scene.message.id)
    await stage.settled('answer()', answerBy(stage.broker, delivery, 'again'))
    assert.equal(bodyOf(await stage.settled('the call', scene.ended)), 'again')
  },

  'a call that is aborted rejects, and a late answer hurts nobody': async (stage) => {
    const scene = await called(stage)
    const reason = new Error('enough')
    scene.abort.abort(reason)
    const outcome = await stage.settled(
      'the call',
      outcomeOf(() => scene.ended),
    )
    assert.ok('error' in outcome && outcome.error === reason, 'it rejects with the reason of the signal')
    await stage.settled('answer()', answerBy(scene.broker, scene.delivery, 'late'))
  },

  'close settles the calls that are under way': async (stage) => {
    const scene = await called(stage)
    await stage.settled('close()', stage.broker.close())
    const outcome = await stage.settled(
      'the call',
      outcomeOf(() => scene.ended),
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

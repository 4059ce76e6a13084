import assert from 'node:assert/strict'
import type { CallResult, Consumer, Delivery, News } from '@zyqueue/core/broker'
import { feature, having, type Behaviours } from '../behaviour.ts'
import { outcomeOf } from '../calls.ts'
import { expectStatuses } from '../expect-statuses.ts'
import { bytesOf, messageTo, textOf, type Stage } from '../stage.ts'

/** A call that is under way, in the hands of a worker. */
async function called(stage: Stage) {
  const { broker } = stage
  assert.ok(broker.call, 'a broker with calls has call()')
  const queue = await stage.queue()
  const message = messageTo(queue, { body: bytesOf('"data"') })
  const news: News[] = []
  const abort = new AbortController()
  const ended = stage.later(broker.call(message, { signal: abort.signal, onNews: (each) => news.push(each) }))
  const consumer = await stage.consumer([queue], { broker: await stage.connectedBroker() })
  const delivery = await stage.takeOne(consumer)
  const answer = async (body: string): Promise<void> => {
    assert.ok(consumer.answer !== undefined, 'a broker with calls has answers')
    const results = await stage.settled('answer()', consumer.answer([{ delivery, body: bytesOf(body) }]))
    expectStatuses('answer()', [delivery], results, 'ok')
  }
  return { queue, message, news, abort, ended, consumer, delivery, answer }
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

  'news come in their order, before the end': async (stage) => {
    const scene = await called(stage)
    const sent: readonly News[] = [
      { kind: 'progress', done: 1, of: 3 },
      { kind: 'data', body: Uint8Array.of(0, 0xff) },
      { kind: 'warning', text: 'grün' },
      { kind: 'data', body: bytesOf('last') },
    ]
    for (const news of sent) scene.consumer.tell?.(scene.delivery, news)
    await scene.answer('1')
    await stage.settled('the call', scene.ended)
    const heard = scene.news.map((news) =>
      news.kind === 'data' ? { ...news, body: Uint8Array.from(news.body) } : news,
    )
    assert.deepEqual(heard, sent)
  },

  'the job of a lost owner goes to another, and the call goes on': async (stage) => {
    const scene = await called(stage)
    await stage.settled('consumer.close()', scene.consumer.close())
    const { consumer, delivery } = await stage.takeOneOf(scene.queue)
    assert.equal(delivery.id, scene.message.id)
    await stage.settled('answer()', answered(consumer, delivery))
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
    await stage.settled('answer()', answered(scene.consumer, scene.delivery))
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

async function answered(consumer: Consumer, delivery: Delivery): Promise<void> {
  await consumer.answer?.([{ delivery, body: bytesOf('again') }])
}

function bodyOf(result: CallResult): string {
  assert.equal(result.status, 'done')
  return result.status === 'done' ? textOf(result) : ''
}

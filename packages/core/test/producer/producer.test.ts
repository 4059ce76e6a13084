import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import type { OutboundMessage, PublishResult } from '../../src/contract/index.ts'
import { BrokerError } from '../../src/errors.ts'
import { Producer } from '../../src/producer/producer.ts'
import { connectionTo, gate, scripted, until, type Script } from '../support.ts'

const queue = { name: 'mail', options: {} }

function message(id: string, bytes = 1, queueName = queue.name): OutboundMessage {
  return { queue: queueName, id, body: new Uint8Array(bytes), headers: {}, delayMs: 0, priority: 4 }
}

function messages(count: number, bytes = 1): OutboundMessage[] {
  return Array.from({ length: count }, (_, index) => message(`m${index}`, bytes))
}

function producerOn(script: Script) {
  const broker = scripted(script)
  return { broker, producer: new Producer(connectionTo(broker)) }
}

const lost = () => new BrokerError('ZYQ_CONNECTION_LOST', 'cut')
const away = () => new BrokerError('ZYQ_UNREACHABLE', 'connection refused')

test('batches the submits of one turn into as few batches as possible', async () => {
  const batches: number[] = []
  const { producer } = producerOn({
    publish: (real, batch) => {
      batches.push(batch.length)
      return real.publish(batch)
    },
  })
  const results = await Promise.all(messages(2500).map((one) => producer.publish(queue, [one])))
  expect(batches).toEqual([1000, 1000, 500])
  expect(results.flat()).toEqual(Array.from({ length: 2500 }, () => ({ status: 'stored' })))
  await producer.close()
})

test('a batch is full at four megabytes, and one message may be larger', async () => {
  const batches: number[] = []
  const { producer } = producerOn({
    publish: (real, batch) => {
      batches.push(batch.length)
      return real.publish(batch)
    },
  })
  await producer.publishAll(queue, [message('large', 5_000_000), ...messages(10, 1_000_000)])
  expect(batches).toEqual([1, 4, 4, 2])
  await producer.close()
})

test('publishAll returns one result for each message, in order', async () => {
  const { producer } = producerOn({
    publish: async (_real, batch) =>
      batch.map(({ id }): PublishResult =>
        id === 'm1500' ? { status: 'refused', error: away() } : { status: 'stored' },
      ),
  })
  const results = await producer.publishAll(queue, messages(3210))
  expect(results).toHaveLength(3210)
  expect(results.findIndex(({ status }) => status === 'refused')).toBe(1500)
  expect(await producer.publishAll(queue, [])).toEqual([])
  await producer.close()
})

test('keeps at most four batches in flight', async () => {
  const let1 = gate()
  let underway = 0
  let most = 0
  const { producer } = producerOn({
    publish: async (real, batch) => {
      most = Math.max(most, ++underway)
      await let1.opened
      underway--
      return real.publish(batch)
    },
  })
  const all = producer.publishAll(queue, messages(10_000))
  await until('four are in flight', () => underway === 4)
  await nextTurn()
  let1.open()
  await all
  expect(most).toBe(4)
  await producer.close()
})

test('a broker that never was reachable fails at once', async () => {
  const connect = vi.fn(() => Promise.reject(away()))
  const { producer } = producerOn({ connect })
  const [result] = await producer.publish(queue, [message('a')])
  expect(result).toMatchObject({ status: 'refused', error: { code: 'ZYQ_UNREACHABLE' } })
  expect(connect).toHaveBeenCalledTimes(1)
  await producer.close()
})

test('a broker that is busy is waited for, also if it never was reachable', async () => {
  let refusals = 0
  const busy = new BrokerError('ZYQ_BROKER_BUSY', 'no free connection')
  const { producer } = producerOn({
    connect: (real) => (refusals++ < 2 ? Promise.reject(busy) : real.connect()),
  })
  expect(await producer.publish(queue, [message('a')])).toEqual([{ status: 'stored' }])
  expect(refusals).toBe(3)
  await producer.close()
})

test('publish waits for a broker that was reachable before', async () => {
  const { broker, producer } = producerOn({})
  await producer.publish(queue, [message('first')])
  let refusals = 0
  broker.script.publish = (real, batch) => (refusals++ < 2 ? Promise.reject(lost()) : real.publish(batch))
  const connect = vi.fn(async () => {})
  broker.script.connect = connect
  expect(await producer.publish(queue, [message('second')])).toEqual([{ status: 'stored' }])
  expect(refusals).toBe(3)
  expect(connect).toHaveBeenCalledTimes(2)
  await producer.close()
})

test('an error that a retry cannot fix is not retried', async () => {
  const publish = vi.fn(() => Promise.reject(new BrokerError('ZYQ_AUTH', 'no')))
  const { broker, producer } = producerOn({})
  await producer.publish(queue, [message('first')])
  broker.script.publish = publish
  expect(await producer.publish(queue, [message('a')])).toMatchObject([
    { status: 'refused', error: { code: 'ZYQ_AUTH' } },
  ])
  expect(publish).toHaveBeenCalledTimes(1)
  await producer.close()
})

test('unknown messages are sent again only if the broker deduplicates by id', async () => {
  for (const idempotentPublish of [true, false]) {
    const sent: string[][] = []
    const { producer } = producerOn({
      capabilities: { idempotentPublish },
      publish: async (_real, batch) => {
        sent.push(batch.map(({ id }) => id))
        return batch.map(({ id }) =>
          id === 'm1' && sent.length === 1 ? { status: 'unknown', error: lost() } : { status: 'stored' },
        )
      },
    })
    const results = await producer.publish(queue, messages(3))
    expect(sent).toEqual(idempotentPublish ? [['m0', 'm1', 'm2'], ['m1']] : [['m0', 'm1', 'm2']])
    expect(results[1]).toMatchObject(
      idempotentPublish ? { status: 'stored' } : { status: 'unknown', error: { code: 'ZYQ_OUTCOME_UNKNOWN' } },
    )
    await producer.close()
  }
})

test('an unknown result stays unknown if a later try is refused', async () => {
  let calls = 0
  const { producer } = producerOn({
    publish: async (_real, batch) => {
      if (calls++ > 0) throw new BrokerError('ZYQ_AUTH', 'the password was changed')
      return batch.map(() => ({ status: 'unknown', error: lost() }))
    },
  })
  const [result] = await producer.publish(queue, [message('a')])
  expect(calls).toBe(2)
  expect(result).toMatchObject({ status: 'unknown', error: { code: 'ZYQ_OUTCOME_UNKNOWN' } })
  await producer.close()
})

test('if a queue cannot be declared, only its messages are refused', async () => {
  const bad = { name: 'bad', options: {} }
  const { producer } = producerOn({
    declare: (real, queues) =>
      queues[0]?.name === 'bad' ? Promise.reject(new BrokerError('ZYQ_TOPOLOGY', 'other')) : real.declare(queues),
  })
  const [good, refused, alsoGood] = await Promise.all([
    producer.publish(queue, [message('a')]),
    producer.publish(bad, [message('b', 1, 'bad')]),
    producer.publish(queue, [message('c')]),
  ])
  expect([good, alsoGood]).toEqual([[{ status: 'stored' }], [{ status: 'stored' }]])
  expect(refused).toMatchObject([{ status: 'refused', error: { code: 'ZYQ_TOPOLOGY' } }])
  await producer.close()
})

test('a message without a result is unknown', async () => {
  const { producer } = producerOn({
    capabilities: { idempotentPublish: false },
    publish: async () => [{ status: 'stored' }],
  })
  expect(await producer.publish(queue, messages(2))).toMatchObject([
    { status: 'stored' },
    { status: 'unknown', error: { code: 'ZYQ_OUTCOME_UNKNOWN' } },
  ])
  await producer.close()
})

test('close waits for pending messages; later messages are refused', async () => {
  const { broker, producer } = producerOn({})
  const all = producer.publishAll(queue, messages(3000))
  await producer.close()
  expect(new Set((await all).map(({ status }) => status))).toEqual(new Set(['stored']))
  expect(broker.store.queue('mail').stats().ready).toBe(3000)
  expect(await producer.publish(queue, [message('late')])).toMatchObject([
    { status: 'refused', error: { code: 'ZYQ_CLOSED' } },
  ])
})

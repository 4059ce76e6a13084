import type { Delivery } from '@zyqueue/core/broker'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { drivers } from '../src/driver.ts'
import { consume, eventually, message, openBroker, receive, temporaryFolder } from './support.ts'

const RAW = Buffer.from('job\n[]')
const DAMAGES: readonly (readonly [what: string, damage: string, raw: Buffer])[] = [
  ['one line too few', "UPDATE job SET message = x'6a6f620a5b5d'", RAW],
  ['no byte', "UPDATE job SET message = x''", Buffer.alloc(0)],
  ['bytes that are not text', "UPDATE job SET message = x'ff00fe0a'", Buffer.from('ff00fe0a', 'hex')],
  ['headers that are a list', "UPDATE job SET message = x'6a6f620a5b5d0a31'", Buffer.from('job\n[]\n1')],
  [
    'a header that is not text',
    `UPDATE job SET message = CAST('job' || char(10) || '{"a":1}' || char(10) AS BLOB)`,
    Buffer.from('job\n{"a":1}\n'),
  ],
  [
    'an id that is not ASCII',
    `UPDATE job SET message = CAST('é' || char(10) || '{}' || char(10) AS BLOB)`,
    Buffer.from('é\n{}\n'),
  ],
]

describe.each(drivers())('a row that another program has changed affects only its own job ($name)', (driver) => {
  async function open(): Promise<{
    broker: Awaited<ReturnType<typeof openBroker>>
    sql: (text: string) => void
  }> {
    const path = join(temporaryFolder(), 'queue.db')
    const broker = await openBroker(path, driver)
    const sql = (text: string): void => {
      const connection = driver.open(path)
      connection.exec(text)
      connection.close()
    }
    return { broker, sql }
  }

  const both = { queues: ['q', 'other'].map((name) => ({ name, options: {} })) }

  test.each(DAMAGES)('%s: the job becomes a dead letter unchanged, and the other jobs run', async (_, damage, raw) => {
    const { broker, sql } = await open()
    await broker.publish([message('a')])
    sql(damage)
    await broker.publish([message('b'), message('c', { queue: 'other' })])

    const listed = await broker.admin.jobs('q', { limit: 10 })
    expect(listed).toHaveLength(2)
    const consumer = await consume(broker, both)
    const deliveries = await receive(consumer, 3)
    const [bad, ...others] = deliveries.filter(({ undecodable }) => undecodable !== undefined)
    const good = deliveries.filter(({ undecodable }) => undecodable === undefined)
    if (bad === undefined) throw new Error('the unreadable job did not come')
    expect(others).toEqual([])
    expect(good.map(({ id }) => id).sort()).toEqual(['b', 'c'])
    expect(listed.map(({ id }) => id).sort()).toEqual([bad.id, 'b'].sort())
    expect(Buffer.from(bad.body)).toEqual(raw)
    const reason = `ZYQ_DECODE: ${bad.undecodable}`
    expect(await consumer.ack(good)).toEqual(good.map(() => ({ status: 'ok' })))
    expect(await consumer.reject([{ delivery: bad, reason, headers: { why: 'x' } }])).toEqual([{ status: 'ok' }])

    const letter = { id: bad.id, reason, headers: {}, body: bad.body }
    expect(await broker.admin.deadLetters.list('q', { limit: 10 })).toMatchObject([letter])
    expect(await broker.admin.deadLetters.requeue('q', [bad.id])).toBe(1)
    expect(await receive(consumer, 1)).toMatchObject([{ id: bad.id, undecodable: bad.undecodable }])
  })

  test('it can be cancelled by its listed id, without a readable job', async () => {
    const { broker, sql } = await open()
    await broker.publish([message('a'), message('b'), message('undecodable-2'), message('c')])
    sql("UPDATE job SET message = x'00' WHERE seq IN (1, 4)")
    const ids = (await broker.admin.jobs('q', { limit: 10 })).map(({ id }) => id)
    expect(ids).toEqual(['undecodable-1', 'b', 'undecodable-2', 'undecodable-4'])
    expect(await broker.admin.cancel('q', ['undecodable-1', 'undecodable-2', 'undecodable-x'])).toBe(2)
    expect((await broker.admin.jobs('q', { limit: 10 })).map(({ id }) => id)).toEqual(['b', 'undecodable-4'])
  })

  test('the end of the lease gives it back with the others, and counts the delivery', async () => {
    const { broker, sql } = await open()
    await broker.publish([message('a'), message('b')])
    sql("UPDATE job SET message = x'00' WHERE seq = 1")
    const held = await receive(await consume(broker), 2)
    await broker.leases.reclaim(
      'consumer',
      held.map(({ id }) => ({ id, headers: { charged: id } })),
    )
    const again = await receive(await consume(broker, { consumerId: 'heir' }), 2)
    expect(again.map(({ id, deliveryCount, headers }) => [id, deliveryCount, headers['charged']])).toEqual([
      ['undecodable-1', 1, undefined],
      ['b', 1, 'b'],
    ])
  })

  test.each([
    ['a rank out of range', 'UPDATE job SET rank = 99; UPDATE ready SET rank = 99'],
    ['a rank that is no number of JavaScript', 'UPDATE job SET rank = 1 << 62; UPDATE ready SET rank = 1 << 62'],
    ['a negative rank', 'UPDATE job SET rank = -(1 << 62); UPDATE ready SET rank = -(1 << 62)'],
    ['a time of storing', 'UPDATE job SET stored_at = 9223372036854775807'],
    ['a count of deliveries', 'UPDATE job SET deliveries = 9223372036854775807'],
    ['the text of a dead letter', "UPDATE dead SET id = CAST(x'ff' AS TEXT), reason = CAST(x'ff00' AS TEXT)"],
    ['the time of a death', 'UPDATE dead SET died_at = -9223372036854775807'],
    ['the time of a death that is to come', 'UPDATE dead SET died_at = died_at + 864000000'],
    ['the time of a death that never comes', 'UPDATE dead SET died_at = 9223372036854775807'],
    ['a due time', 'UPDATE delayed SET due = 9223372036854775807'],
    ['a due time before all others', 'UPDATE delayed SET due = -9223372036854775807'],
    [
      'a place of a job that is gone',
      "INSERT INTO ready VALUES (1, 0, 1000); INSERT INTO dead VALUES (1, 1, 1001, 'x', 'x')",
    ],
    [
      'a second place of a held job',
      'INSERT INTO ready SELECT j.queue, j.rank, j.seq FROM held h JOIN job j ON j.seq = h.seq',
    ],
    ['the name of a queue', "INSERT INTO queue (name) VALUES (CAST(x'ff' AS TEXT))"],
    ['a lease', "UPDATE lease SET client = CAST(x'ff' AS TEXT), queues = '[', since = 9223372036854775807"],
    ['the times of a lease', 'UPDATE lease SET renewed = 9223372036854775807, expires = 9223372036854775807'],
  ])('%s: every job still runs and every list is shown', async (_, damage) => {
    const { broker, sql } = await open()
    const first = await consume(broker, { ...both, consumerId: 'first' })
    await broker.publish([message('dead'), message('held')])
    const [dying] = await receive(first, 2)
    if (dying === undefined) throw new Error('nothing came')
    await first.reject([{ delivery: dying, reason: 'ZYQ_TEST' }])
    await broker.publish([message('later', { delayMs: 600_000 }), message('ready')])
    sql(damage)
    await broker.publish([message('other', { queue: 'other' })])

    expect((await broker.admin.queues()).map(({ name }) => name)).toEqual(expect.arrayContaining(['other', 'q']))
    expect((await broker.admin.jobs('q', { limit: 10 })).length).toBeGreaterThanOrEqual(3)
    await broker.admin.workers()
    expect(await broker.admin.deadLetters.list('q', { limit: 10 })).toHaveLength(1)
    await broker.leases.reclaim('first', [{ id: 'held' }])
    await broker.admin.deadLetters.requeue('q')
    const heir = await consume(broker, { ...both, consumerId: 'heir' })
    const deliveries: Delivery[] = []
    await eventually(async () => {
      deliveries.push(...(await heir.receive(10, { signal: new AbortController().signal })))
      return ['dead', 'held', 'other', 'ready'].every((id) => deliveries.some((delivery) => delivery.id === id))
    })
    for (const { priority, deliveryCount } of deliveries) {
      expect(priority).toBeGreaterThanOrEqual(0)
      expect(priority).toBeLessThanOrEqual(9)
      expect(deliveryCount).toBeLessThanOrEqual(1_000_000)
    }
    expect(await heir.ack(deliveries)).toEqual(deliveries.map(() => ({ status: 'ok' })))
  })
})

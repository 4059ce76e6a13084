import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { drivers } from '../src/driver.ts'
import { consume, eventually, message, messages, openBroker, receive, temporaryFolder } from './support.ts'

const signal = new AbortController().signal

describe.each(drivers())('queues ($name)', (driver) => {
  const open = (): ReturnType<typeof openBroker> => openBroker(join(temporaryFolder(), 'queue.db'), driver)

  test('priorities first, then the order of arrival, within and across batches of every size', async () => {
    const broker = await open()
    const counts = [1, 9, 10, 11, 99, 100, 101, 250]
    let id = 0
    for (const count of counts) {
      await broker.publish(Array.from({ length: count }, () => message(String(id++), { priority: id % 10 })))
    }
    const deliveries = await receive(await consume(broker), id)
    const expected = Array.from({ length: id }, (_, index) => ({ id: String(index), priority: (index + 1) % 10 }))
    expected.sort((a, b) => b.priority - a.priority || Number(a.id) - Number(b.id))
    expect(deliveries.map(({ id, priority }) => ({ id, priority }))).toEqual(expected)
    expect(deliveries.every(({ id, body }) => String(body) === `body of ${id}`)).toBe(true)
  })

  test('jobs are listed in the order in which they run, with due delayed jobs among them', async () => {
    const broker = await open()
    await broker.publish([message('soon', { delayMs: 1 }), message('ready'), message('first', { priority: 9 })])
    await broker.publish([message('later', { delayMs: 600_000 })])
    await eventually(async () => (await broker.admin.queues())[0]?.ready === 3)
    const listed = await broker.admin.jobs('q', { limit: 10 })
    expect(listed.map(({ id, state }) => `${state} ${id}`)).toEqual([
      'ready first',
      'ready soon',
      'ready ready',
      'delayed later',
    ])
    expect((await broker.admin.jobs('q', { limit: 2 })).map(({ id }) => id)).toEqual(['first', 'soon'])
  })

  test('large and small bodies of one batch come back byte for byte', async () => {
    const broker = await open()
    const sizes = [0, 1, 65_535, 65_537, 1_000_000, 0]
    const bodies = sizes.map((size) => Uint8Array.from({ length: size }, (_, index) => (index * 7) % 256))
    await broker.publish(bodies.map((body, index) => message(String(index), { body })))
    const deliveries = await receive(await consume(broker), sizes.length)
    expect(deliveries.map(({ body }, index) => Buffer.compare(body, bodies[index] ?? new Uint8Array(1)))).toEqual(
      sizes.map(() => 0),
    )
  })

  test('a full queue does not starve another queue of the same consumer', async () => {
    const broker = await open()
    await broker.publish(messages(500, { queue: 'full' }))
    await broker.publish(messages(3, { queue: 'small' }))
    await broker.publish(messages(3, { queue: 'third' }))
    const queues = ['full', 'small', 'empty', 'third'].map((name) => ({ name, options: {} }))
    const consumer = await consume(broker, { queues })

    const one = [await receive(consumer, 1), await receive(consumer, 1), await receive(consumer, 1)].flat()
    expect(one.map(({ queue }) => queue)).toEqual(['full', 'small', 'third'])
    const ten = await consumer.receive(10, { signal })
    expect(ten.map(({ queue }) => queue).sort()).toEqual([
      ...Array.from({ length: 6 }, () => 'full'),
      'small',
      'small',
      'third',
      'third',
    ])
  })

  test('a consumer holds at most prefetch jobs, and settling makes room', async () => {
    const broker = await open()
    await broker.publish(messages(5))
    const consumer = await consume(broker, { prefetch: 3 })
    const held = await consumer.receive(10, { signal })
    expect(held).toHaveLength(3)
    const more = consumer.receive(10, { signal })
    await consumer.ack(held.slice(0, 2))
    expect((await more).map(({ id }) => id)).toEqual(['q-3', 'q-4'])
  })

  test('many delayed jobs that are due at once come in their order', async () => {
    const broker = await open()
    await broker.publish(messages(1000, { delayMs: 1 }))
    await broker.publish(messages(1000, { delayMs: 1 }))
    const deliveries = await receive(await consume(broker, { prefetch: 2000 }), 2000)
    expect(deliveries).toHaveLength(2000)
  })

  test('purge deletes waiting jobs, and no held or dead ones', async () => {
    const broker = await open()
    const consumer = await consume(broker)
    await broker.publish(messages(2))
    const [held, dying] = await receive(consumer, 2)
    if (held === undefined || dying === undefined) throw new Error('nothing received')
    await consumer.reject([{ delivery: dying, reason: 'ZYQ_TEST' }])
    for (let batch = 0; batch < 3; batch++) {
      await broker.publish(
        Array.from({ length: 1000 }, (_, index) => message(`w${batch}-${index}`, { priority: index % 10 })),
      )
      await broker.publish(
        Array.from({ length: 1000 }, (_, index) => message(`d${batch}-${index}`, { delayMs: 60_000 + index })),
      )
    }
    await broker.publish(messages(5, { queue: 'other' }))

    expect(await broker.admin.purge('q')).toBe(6000)
    expect(await broker.admin.queues()).toMatchObject([
      { name: 'other', ready: 5 },
      { name: 'q', ready: 0, delayed: 0, active: 1, dead: 1 },
    ])
    expect(await consumer.ack([held])).toEqual([{ status: 'ok' }])
    await expect(broker.admin.purge('unheard of')).rejects.toMatchObject({ code: 'ZYQ_QUEUE_NOT_FOUND' })
  })

  test('dead letters are listed newest first, and requeued and purged by id or all', async () => {
    const broker = await open()
    const consumer = await consume(broker)
    await broker.publish(messages(4))
    for (const delivery of await receive(consumer, 4)) {
      await consumer.reject([{ delivery, reason: `ZYQ_TEST ${delivery.id}`, headers: { why: delivery.id } }])
    }
    const listed = await broker.admin.deadLetters.list('q', { limit: 3 })
    expect(listed.map(({ id, reason, headers, body }) => [id, reason, headers['why'], String(body)])).toEqual([
      ['q-3', 'ZYQ_TEST q-3', 'q-3', 'body of q-3'],
      ['q-2', 'ZYQ_TEST q-2', 'q-2', 'body of q-2'],
      ['q-1', 'ZYQ_TEST q-1', 'q-1', 'body of q-1'],
    ])
    expect(await broker.admin.deadLetters.requeue('q', ['q-1', 'unheard of'])).toBe(1)
    expect(await broker.admin.deadLetters.purge('q', ['q-2'])).toBe(1)
    expect(await broker.admin.deadLetters.requeue('q')).toBe(2)
    expect(await broker.admin.deadLetters.purge('q')).toBe(0)
    expect((await receive(consumer, 3)).map(({ id, deliveryCount }) => [id, deliveryCount])).toEqual([
      ['q-0', 0],
      ['q-1', 0],
      ['q-3', 0],
    ])
  })

  test('a message that cannot be stored is refused, and the rest of the batch is stored', async () => {
    const broker = await open()
    const results = await broker.publish([
      message('good'),
      message('bad\nid'),
      message('', {}),
      message('large', { body: new Uint8Array(broker.capabilities.maxBodyBytes + 1) }),
      message('options', { options: { exchange: 'x' } }),
      message('good-too'),
    ])
    expect(results.map(({ status }) => status)).toEqual([
      'stored',
      'refused',
      'refused',
      'refused',
      'refused',
      'stored',
    ])
    expect(results[3]).toMatchObject({ error: { code: 'ZYQ_BODY_TOO_LARGE' } })
    expect(results[4]).toMatchObject({ error: { code: 'ZYQ_UNSUPPORTED' } })
    expect(await broker.admin.queues()).toMatchObject([{ ready: 2 }])
  })

  test('an aborted receive settles at once and holds no job', async () => {
    const broker = await open()
    const consumer = await consume(broker)
    const aborter = new AbortController()
    const waiting = consumer.receive(10, { signal: aborter.signal })
    void broker.publish(messages(5)).then(() => aborter.abort())
    const deliveries = await waiting
    expect(await consumer.receive(1, { signal: AbortSignal.abort() })).toEqual([])
    const rest = await receive(await consume(broker, { consumerId: 'other' }), 5 - deliveries.length)
    expect(rest.length + deliveries.length).toBe(5)
  })

  test('close settles pending calls, and later calls reject', async () => {
    const broker = await open()
    const consumer = await consume(broker)
    const waiting = consumer.receive(1, { signal })
    const publishing = broker.publish(messages(10))
    await Promise.all([broker.close(), broker.close()])
    expect(await waiting).toEqual([])
    expect(await publishing).toHaveLength(10)
    for (const call of [
      () => broker.connect(),
      () => broker.publish([message('a')]),
      () => broker.declare([]),
      () => consume(broker),
      () => broker.leases.renew([], 1),
      () => broker.admin.queues(),
      () => consumer.receive(1, { signal }),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'ZYQ_CLOSED' })
    }
  })

  test('version() names the engine, and check() finds no problem with a local file', async () => {
    const broker = await open()
    expect(await broker.admin.version()).toMatch(new RegExp(`^SQLite 3\\.\\d+\\.\\d+ \\(${driver.name}\\)$`))
    expect(await broker.admin.check()).toEqual([])
    await consume(broker)
    expect(await broker.admin.workers()).toMatchObject([
      { id: 'consumer', client: { name: 'test.1', host: 'here', pid: process.pid }, queues: ['q'], active: 0 },
    ])
  })
})

test('each driver reads the files of the other', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const all = drivers()
  for (const driver of all) await (await openBroker(path, driver)).publish([message(driver.name)])
  const broker = await openBroker(path, all.at(-1))
  expect(await receive(await consume(broker), all.length)).toHaveLength(all.length)
})

test('in memory, a producer and a worker of one process see the same jobs', async () => {
  const producer = await openBroker(':memory:')
  const worker = await openBroker(':memory:')
  const consumer = await consume(worker, { queues: [{ name: 'in memory', options: {} }] })
  const waiting = consumer.receive(1, { signal })
  await producer.publish([message('a', { queue: 'in memory' })])
  expect(await waiting).toMatchObject([{ id: 'a' }])
  await producer.publish([message('b', { queue: 'in memory' })])
  await producer.close()
  expect(await receive(consumer, 1)).toMatchObject([{ id: 'b' }])
  expect(producer.capabilities.durable).toBe(false)
  expect(await worker.admin.check()).toMatchObject([{ level: 'note' }])
})

import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { drivers } from '../src/driver.ts'
import { consume, eventually, message, messages, openBroker, receive, temporaryFolder } from './support.ts'

const LOST = { status: 'lease-lost' }
const OK = { status: 'ok' }

describe.each(drivers())('leases ($name)', (driver) => {
  const open = (): ReturnType<typeof openBroker> => openBroker(join(temporaryFolder(), 'queue.db'), driver)

  test('an ended lease settles nothing, even if the same consumer id holds the same job again', async () => {
    const broker = await open()
    await broker.publish(messages(3))
    const late = await consume(broker)
    const stale = await receive(late, 3)
    const [first, second, third] = stale
    if (first === undefined || second === undefined || third === undefined) throw new Error('nothing received')
    const heir = await consume(broker)
    const again = await receive(heir, 3)
    expect(again.map(({ id, deliveryCount }) => [id, deliveryCount])).toEqual(stale.map(({ id }) => [id, 1]))

    expect(await late.ack([first])).toEqual([LOST])
    expect(await late.release([{ delivery: second, delayMs: 0 }])).toEqual([LOST])
    expect(await late.reject([{ delivery: third, reason: 'ZYQ_TEST' }])).toEqual([LOST])
    expect(await heir.ack(stale)).toEqual([LOST, LOST, LOST])
    await late.close()
    expect(await broker.admin.queues()).toMatchObject([{ ready: 0, active: 3, dead: 0 }])
    expect(await heir.ack(again)).toEqual([OK, OK, OK])
  })

  test('an expired lease is over before its jobs are taken back, and they count a delivery', async () => {
    const broker = await open()
    await broker.publish([message('a')])
    const late = await consume(broker)
    const held = await receive(late, 1)
    await eventually(async () => (await broker.leases.renew(['consumer'], 1)).length > 0)
    expect(await late.ack(held)).toEqual([LOST])
    await expect(late.receive(1, { signal: new AbortController().signal })).rejects.toMatchObject({
      code: 'ZYQ_LEASE_LOST',
    })
    await late.close()
    expect(await receive(await consume(broker), 1)).toMatchObject([{ id: 'a', deliveryCount: 1 }])
  })

  test('setting the wall clock ends no lease', async () => {
    const broker = await open()
    await broker.publish([message('a')])
    const owner = await consume(broker, { consumerId: 'owner' })
    const held = await receive(owner, 1)
    const today = Date.now()
    const clock = vi.spyOn(Date, 'now').mockImplementation(() => today + 3_600_000)
    onTestFinished(() => clock.mockRestore())
    const other = await consume(broker, { consumerId: 'other' })
    await broker.publish([message('b')])
    expect((await receive(other, 1)).map(({ id }) => id)).toEqual(['b'])
    clock.mockImplementation(() => today - 3_600_000)
    expect(await owner.ack(held)).toEqual([OK])
  })

  test('a lease from before a restart of the host is over', async () => {
    const folder = temporaryFolder()
    const broker = await openBroker(join(folder, 'queue.db'), driver)
    await broker.publish([message('a')])
    await receive(await consume(broker, { consumerId: 'before' }), 1)
    // The monotonic clock restarts with the host, so a renewal at its tenth day was before the restart.
    const connection = driver.open(join(folder, 'queue.db'))
    onTestFinished(() => connection.close())
    connection.exec('UPDATE lease SET renewed = renewed + 864000000, expires = expires + 864000000')
    expect(await broker.admin.workers()).toEqual([])
    const [again] = await receive(await consume(broker, { consumerId: 'after' }), 1)
    expect(again).toMatchObject({ id: 'a', deliveryCount: 1 })
  })

  test('a renewal between reading the clock and reading the lease ends nothing', async () => {
    const folder = temporaryFolder()
    const broker = await openBroker(join(folder, 'queue.db'), driver)
    const consumer = await consume(broker)
    const elsewhere = driver.open(join(folder, 'queue.db'))
    onTestFinished(() => elsewhere.close())
    const real = process.hrtime.bigint.bind(process.hrtime)
    const milliseconds = (): bigint => real() / 1_000_000n
    const clock = vi.spyOn(process.hrtime, 'bigint').mockImplementation(() => {
      const now = real()
      while (milliseconds() === now / 1_000_000n);
      elsewhere.exec(`UPDATE lease SET renewed = ${milliseconds()}`)
      return now
    })
    onTestFinished(() => clock.mockRestore())
    const stop = new AbortController()
    const looking = consumer.receive(1, { signal: stop.signal })
    expect(await broker.admin.workers()).toMatchObject([{ id: 'consumer' }])
    expect(await broker.admin.queues()).toMatchObject([{ workers: 1 }])
    stop.abort()
    expect(await looking).toEqual([])
  })

  test('a lease that expires during a claim claims nothing', async () => {
    const broker = await open()
    await broker.publish(messages(2))
    const consumer = await consume(broker)
    const held = await receive(consumer, 1)
    const real = process.hrtime.bigint.bind(process.hrtime)
    const now = real()
    let readings = 0
    // The lease is a minute long.
    const clock = vi
      .spyOn(process.hrtime, 'bigint')
      .mockImplementation(() => now + (readings++ === 0 ? 0n : 3_600_000_000_000n))
    onTestFinished(() => clock.mockRestore())
    await expect(consumer.receive(1, { signal: new AbortController().signal })).rejects.toMatchObject({
      code: 'ZYQ_LEASE_LOST',
    })
    clock.mockRestore()
    expect(readings).toBe(2)
    expect(await broker.admin.queues()).toMatchObject([{ ready: 1, active: 1 }])
    expect(await consumer.ack(held)).toEqual([OK])
  })

  test('an idle consumer that was reclaimed gets ZYQ_LEASE_LOST', async () => {
    const broker = await open()
    const consumer = await consume(broker)
    await broker.leases.reclaim('consumer', [])
    await expect(consumer.receive(1, { signal: new AbortController().signal })).rejects.toMatchObject({
      code: 'ZYQ_LEASE_LOST',
    })
  })

  test('of several settlements of a delivery at once, one counts', async () => {
    const broker = await open()
    await broker.publish([message('a')])
    const consumer = await consume(broker)
    const [delivery] = await receive(consumer, 1)
    if (delivery === undefined) throw new Error('nothing received')
    const settled = await Promise.all([
      consumer.release([{ delivery, delayMs: 0 }]),
      consumer.ack([delivery, delivery]),
    ])
    expect(settled).toEqual([[OK], [LOST, LOST]])
    expect(await broker.admin.queues()).toMatchObject([{ ready: 1, active: 0 }])
  })

  test('renewing keeps a lease, and returns the ids of ended leases', async () => {
    const broker = await open()
    await broker.publish([message('a')])
    const keeper = await consume(broker, { consumerId: 'keeper', leaseMs: 60_000 })
    await consume(broker, { consumerId: 'ended', leaseMs: 1 })
    const [delivery] = await receive(keeper, 1)
    await eventually(async () => (await broker.leases.renew(['ended'], 60_000)).length > 0)
    expect(await broker.leases.renew(['keeper', 'ended', 'unheard of'], 120_000)).toEqual(['ended', 'unheard of'])
    expect(delivery && (await keeper.ack([delivery]))).toEqual([OK])
  })

  test('reclaim counts a delivery for the named jobs, changes their headers, and gives all jobs their old places', async () => {
    const broker = await open()
    await broker.publish(messages(3, { headers: { kept: '1', changed: 'before' } }))
    const gone = await consume(broker, { consumerId: 'gone' })
    const held = await receive(gone, 3)
    await broker.publish([message('later')])
    await broker.leases.reclaim('gone', [{ id: 'q-1', headers: { changed: 'after' } }, { id: 'q-2' }])

    expect(await gone.ack(held)).toEqual([LOST, LOST, LOST])
    const again = await receive(await consume(broker), 4)
    expect(
      again.map(({ id, deliveryCount, headers, body }) => [id, deliveryCount, { ...headers }, String(body)]),
    ).toEqual([
      ['q-0', 0, { kept: '1', changed: 'before' }, 'body of q-0'],
      ['q-1', 1, { kept: '1', changed: 'after' }, 'body of q-1'],
      ['q-2', 1, { kept: '1', changed: 'before' }, 'body of q-2'],
      ['later', 0, {}, 'body of later'],
    ])
    await broker.leases.reclaim('unheard of', [])
  })

  test('closing a consumer gives jobs back without counting, and later calls reject', async () => {
    const broker = await open()
    await broker.publish([message('a')])
    const consumer = await consume(broker)
    const held = await receive(consumer, 1)
    await Promise.all([consumer.close(), consumer.close()])
    await expect(consumer.ack(held)).rejects.toMatchObject({ code: 'ZYQ_CLOSED' })
    expect(await receive(await consume(broker), 1)).toMatchObject([{ id: 'a', deliveryCount: 0 }])
  })
})

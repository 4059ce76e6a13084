import { expect, test } from 'vitest'
import { join } from 'node:path'
import {
  consume,
  eventually,
  exitOf,
  message,
  messages,
  openBroker,
  receive,
  startChild,
  temporaryFolder,
} from './support.ts'

const idsOf = (said: readonly unknown[]): readonly string[] => said.flat().map(String)

test('processes that open a new file at the same time get the same queue', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const children = Array.from({ length: 5 }, (_, index) => startChild('publisher', path, `p${index}`, '3'))
  for (const { child } of children) expect(await exitOf(child)).toBe(0)

  const broker = await openBroker(path)
  const [stats] = await broker.admin.queues()
  expect(stats).toMatchObject({ name: 'q', ready: 150 })
})

test('publishers and workers of several processes: each job is acked once', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const publishers = Array.from({ length: 2 }, (_, index) => startChild('publisher', path, `p${index}`, '100'))
  const workers = Array.from({ length: 2 }, (_, index) => startChild('worker', path, `w${index}`))
  for (const { child } of publishers) expect(await exitOf(child)).toBe(0)
  const published = publishers.flatMap(({ said }) => idsOf(said))
  expect(published).toHaveLength(2000)

  const acked = (): readonly string[] => workers.flatMap(({ said }) => idsOf(said))
  await eventually(() => acked().length >= published.length)
  expect([...acked()].sort()).toEqual([...published].sort())
})

test('a killed publisher loses no job that was reported as stored', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  for (let round = 0; round < 5; round++) {
    const { child, said } = startChild('publisher', path, `r${round}`)
    await eventually(() => said.length > 20)
    child.kill('SIGKILL')
    await exitOf(child)

    const broker = await openBroker(path)
    const consumer = await consume(broker, { consumerId: `round-${round}`, prefetch: 1_000_000 })
    const [stats] = await broker.admin.queues()
    const stored = await receive(consumer, stats?.ready ?? 0)
    expect(stored.map(({ id }) => id)).toEqual(expect.arrayContaining([...idsOf(said)]))
    await consumer.ack(stored)
    await broker.close()
  }
})

test('killed workers lose no job, and no acked job comes again', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const broker = await openBroker(path)
  const acked: string[] = []
  await broker.publish(messages(1000))
  await broker.publish(messages(1000, { queue: 'q', priority: 5 }).map((job) => ({ ...job, id: `high-${job.id}` })))
  for (let round = 0; round < 4; round++) {
    const { child, said } = startChild('worker', path, `w${round}`)
    await eventually(() => said.length > 1)
    child.kill('SIGKILL')
    await exitOf(child)
    acked.push(...idsOf(said))
    await broker.leases.reclaim(`w${round}`, [])
  }
  const consumer = await consume(broker, { prefetch: 2000 })
  const [stats] = await broker.admin.queues()
  expect(stats?.active).toBe(0)
  const rest = (await receive(consumer, stats?.ready ?? 0)).map(({ id }) => id)

  expect(new Set([...acked, ...rest]).size).toBeGreaterThanOrEqual(2000 - 4 * 50)
  expect(rest.filter((id) => acked.includes(id))).toEqual([])
  expect(new Set(rest).size).toBe(rest.length)
})

test('a process that dies during a transaction leaves neither changes nor locks', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const broker = await openBroker(path)
  await broker.publish([message('before')])
  const { child, said } = startChild('half-written', path)
  await eventually(() => said.length > 0)

  const waiting = broker.publish([message('after')])
  child.kill('SIGKILL')
  expect(await waiting).toEqual([{ status: 'stored' }])
  expect(await broker.admin.queues()).toMatchObject([{ name: 'q', ready: 2 }])
})

test('after the lease of a dead worker expires, another worker gets its jobs', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const broker = await openBroker(path)
  await broker.publish([message('a'), message('b')])
  const { child, said } = startChild('worker', path, 'gone', 'keep')
  await eventually(() => idsOf(said).length === 2)
  child.kill('SIGKILL')
  expect(await broker.leases.renew(['gone'], 300)).toEqual([])

  const deliveries = await receive(await consume(broker), 2)
  expect(deliveries.map(({ id, deliveryCount }) => [id, deliveryCount])).toEqual([
    ['a', 1],
    ['b', 1],
  ])
})

test('a publisher in another process wakes an idle worker through the file', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const broker = await openBroker(path)
  const { said } = startChild('listener', path)
  await eventually(() => said.includes('listening'))
  expect(said).not.toContain('hint')

  await broker.publish([message('much later', { delayMs: 60_000 })])
  await broker.publish([message('now')])
  await eventually(() => said.includes('hint'))
})

test.each(['close', 'leave'])('a process that has used the broker ends by itself (%s)', async (closing) => {
  const { child } = startChild('short-lived', join(temporaryFolder(), 'queue.db'), closing)
  expect(await exitOf(child)).toBe(0)
})

/** The users of the README, and users that lack rights. */
import { readFileSync } from 'node:fs'
import { startRedis, startRedisCluster, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandsOf, REQUIREMENTS, ROLES } from '../../src/connection/rights.ts'
import { consume, message, messages, openBroker, openClient, receive, times } from '../support.ts'

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const LINES = new Map(
  [...README.matchAll(/^ACL SETUSER (\w+) (reset on >SECRET .*)$/gm)].map(([, user = '', rules = '']) => [user, rules]),
)
const OK = { status: 'ok' }
const STORED = { status: 'stored' }

describe('the users of the README', () => {
  test.each(ROLES)('%s has exactly the rights that its role needs', (role) => {
    const { scripts, commands, hints } = REQUIREMENTS[role]
    const called = scripts.flatMap((script) => [...commandsOf(script, 'call'), ...commandsOf(script, 'pcall')])
    // A worker also uses INFO, if it may, to report settings that lose jobs.
    const settings = role === 'worker' ? ['INFO'] : []
    const needed = [...called, ...commands, ...hints, ...settings, 'HELLO', 'EVAL', 'EVALSHA', 'ACL|DRYRUN']
    const rules = (LINES.get(role) ?? '').split(' ').filter((rule) => rule.startsWith('+'))
    expect(rules.toSorted()).toEqual([...new Set(needed.map((name) => `+${name.toLowerCase()}`))].toSorted())
  })
})

await describeWithServer('redis', 'rights', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis()
    const client = new Redis(server.url)
    for (const [user, rules] of LINES) await client.call('ACL', 'SETUSER', user, ...rules.split(' '))
    client.disconnect()
  })
  afterAll(() => server.stop())

  const as = (user: string) => openBroker(`redis://${user}:SECRET@127.0.0.1:${server.port}`)
  /** A user with all rights but these. */
  const openAs = async (user: string, ...rules: readonly string[]) => {
    await openClient(server.url).call('ACL', 'SETUSER', user, 'reset', 'on', '>SECRET', ...rules)
    return as(user)
  }
  const all = ['~*', '&*', '+@all'] as const

  test('the producer, the worker and the operator of the README can use all functions of their role', async () => {
    const [producer, worker, operator] = await Promise.all([as('producer'), as('worker'), as('operator')])
    await producer.declare([{ name: 'q', options: {} }])
    const batch = [
      ...messages('q', 6),
      message('q', 'high', { priority: 9 }),
      message('q', 'due', { delayMs: 1 }),
      message('q', 'later', { delayMs: 600_000 }),
    ]
    expect(await producer.publish(batch)).toEqual(times(9, STORED))
    expect(await producer.publish(batch)).toEqual(times(9, STORED))

    await worker.declare([{ name: 'q', options: {} }])
    await openClient(server.url).zadd('zyqueue:{q}:delayed', 1, 'no job')
    const consumer = await consume(worker, ['q'], { consumerId: 'one' })
    const deliveries = await receive(consumer, 9)
    const [a, b, c, d] = deliveries.filter(({ undecodable }) => undecodable === undefined)
    if (!a || !b || !c || !d) throw new Error('nothing received')
    expect(await worker.leases.renew(['one'], 60_000)).toEqual([])
    expect(await consumer.ack([a])).toEqual([OK])
    expect(await consumer.release([{ delivery: b, delayMs: 0 }])).toEqual([OK])
    expect(await consumer.release([{ delivery: c, delayMs: 600_000, headers: { a: 'b' } }])).toEqual([OK])
    expect(await consumer.reject([{ delivery: d, reason: 'ZYQ_TEST' }])).toEqual([OK])
    await worker.leases.reclaim('one', [{ id: deliveries[5]?.id ?? '', headers: { a: 'b' } }])
    const heir = await consume(worker, ['q'], { leaseMs: 60_000 })
    const inherited = await receive(heir, 6)
    expect(await heir.reject(inherited.map((delivery) => ({ delivery, reason: 'ZYQ_TEST' })))).toEqual(times(6, OK))
    expect((await worker.admin.check()).filter(({ level }) => level !== 'note')).toEqual([])

    const { admin } = operator
    expect(await admin.queues()).toMatchObject([{ name: 'q', ready: 0, delayed: 2, dead: 7, workers: 1 }])
    expect(await admin.workers()).toHaveLength(1)
    expect(await admin.jobs('q', { limit: 10 })).toHaveLength(2)
    expect(await admin.cancel('q', ['later'])).toBe(1)
    expect(await admin.deadLetters.list('q', { limit: 10 })).toHaveLength(7)
    expect(await admin.deadLetters.purge('q', [d.id])).toBe(1)
    expect(await admin.deadLetters.requeue('q')).toBe(6)
    expect(await admin.compact('q')).toBe(0)
    expect(await admin.purge('q')).toBe(7)
    expect(await admin.version()).toMatch(/^Redis /)
    expect((await admin.check()).filter(({ level }) => level !== 'note')).toEqual([])
    await heir.close()
  })

  test('with +select they can use another database, and with +cluster|slots a cluster', async () => {
    const client = openClient(server.url)
    await client.call('ACL', 'SETUSER', 'selecting', ...(LINES.get('producer') ?? '').split(' '), '+select')
    const elsewhere = await openBroker(`redis://selecting:SECRET@127.0.0.1:${server.port}/2`)
    await elsewhere.declare([{ name: 'q', options: {} }])
    expect(await elsewhere.publish([message('q', 'a')])).toEqual([STORED])
    await using cluster = await startRedisCluster()
    for (const { url } of cluster.masters) {
      const master = openClient(url)
      for (const [user, rules] of LINES) {
        await master.call('ACL', 'SETUSER', user, ...rules.split(' '), '+cluster|slots')
      }
    }
    const inCluster = (user: string) => openBroker(cluster.url.replace('://', `://${user}:SECRET@`))
    const producer = await inCluster('producer')
    const queues = ['one', 'two', 'three', 'four']
    await producer.declare(queues.map((name) => ({ name, options: {} })))
    for (const queue of queues) expect(await producer.publish([message(queue, queue)])).toEqual([STORED])
    const consumer = await consume(await inCluster('worker'), queues)
    expect(await consumer.ack(await receive(consumer, 4))).toEqual(times(4, OK))
    await consumer.close()
    expect(await (await inCluster('operator')).admin.queues()).toHaveLength(4)
  })

  test('consume rejects for the producer and names the missing rights', async () => {
    const producer = await as('producer')
    await expect(consume(producer, ['q'])).rejects.toMatchObject({
      code: 'ZYQ_AUTH',
      message: expect.stringMatching(/user producer may not run jobs: ACL SETUSER producer .*\+hdel .*\+hget/),
    })
  })

  test.each([
    ['a command of the script', '+rpush', [...all, '-rpush']],
    ['scripts', '+evalsha', [...all, '-evalsha']],
    ['the keys', '~zyqueue:*', ['~other:*', '&*', '+@all']],
  ])('a publish rejects before it is sent if the user lacks the right for %s', async (_, rule, rules) => {
    const broker = await openAs('lacking', ...rules)
    const error: unknown = await broker.publish([message('q', 'a')]).catch((error: unknown) => error)
    expect(error).toMatchObject({
      code: 'ZYQ_AUTH',
      message: `The Redis user lacking may not submit jobs: ACL SETUSER lacking ${rule}`,
    })
    await openClient(server.url).call('ACL', 'SETUSER', 'lacking', rule)
    expect(await broker.publish([message('q', `again-${rule}`)])).toEqual([STORED])
  })

  test('without the right for ACL DRYRUN, the error of the script names the command', async () => {
    const broker = await openAs('unasked', ...all, '-acl', '-rpush')
    const [result] = await broker.publish([message('q', 'unasked')])
    expect(result).toMatchObject({ status: 'refused', error: { code: 'ZYQ_AUTH' } })
    expect(result?.status === 'refused' && String(result.error)).toMatch(/RPUSH is refused/)
  })

  test('a worker without INFO and ACL runs jobs, and check() reports what it cannot check', async () => {
    const broker = await openAs('blind', ...all, '-info', '-acl')
    await (await consume(broker, ['q'])).close()
    expect(await broker.admin.check()).toEqual([
      { level: 'note', message: expect.stringContaining('rights'), remedy: 'ACL SETUSER blind +acl|dryrun' },
      { level: 'note', message: expect.stringContaining('INFO'), remedy: 'ACL SETUSER blind +info' },
    ])
  })

  test('a user without channels submits and runs jobs, and check() reports the missing channels', async () => {
    const broker = await openAs('app', '~*', '+@all')
    await broker.declare([{ name: 'without-channels', options: {} }])
    const consumer = await consume(broker, ['without-channels'])
    const receiving = receive(consumer, 1)
    expect(await broker.publish([message('without-channels', 'a')])).toEqual([STORED])
    expect(await consumer.ack(await receiving)).toEqual([OK])
    await consumer.close()
    expect(await broker.admin.check()).toEqual([
      {
        level: 'warning',
        message: expect.stringContaining('app may not wake workers'),
        remedy: 'ACL SETUSER app &zyqueue:wake:*',
      },
    ])
  })
})

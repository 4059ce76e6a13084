/** Redis does not roll back a script. If one fails halfway, no job may be lost, and no result may be wrong. */
import { startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Keys, type QueueKeys } from '../../src/keys.ts'
import * as admin from '../../src/scripts/admin.ts'
import * as claims from '../../src/scripts/claim.ts'
import * as leases from '../../src/scripts/lease.ts'
import * as publishing from '../../src/scripts/publish.ts'
import * as settling from '../../src/scripts/settle.ts'
import { openScenario } from './scenario.ts'
import { openBroker, openClient } from '../support.ts'

const SCRIPTS = [admin, claims, leases, publishing, settling].flatMap((scripts) => Object.values(scripts))
const IN_SCRIPTS = SCRIPTS.flatMap(({ lua }) => [...lua.matchAll(/redis\.p?call\('(\w+)'/g)].map(([, name]) => name))
const OUTSIDE_SCRIPTS = ['EVALSHA', 'HDEL', 'HGET', 'HGETALL', 'SCAN', 'SISMEMBER', 'SMEMBERS', 'SUBSCRIBE', 'ZCARD']
const COMMANDS = [...new Set([...IN_SCRIPTS, ...OUTSIDE_SCRIPTS])].toSorted()

await describeWithServer('redis', 'a script that fails halfway', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  const open = async (client: Redis, user?: string) => {
    const plant = (queue: string, value: string) => client.rpush(new Keys('zyqueue').of(queue).ready, value)
    const login = user === undefined ? '' : `${user}:pw@`
    const tested = await openBroker(`redis://${login}127.0.0.1:${server.port}`)
    return openScenario(await openBroker(server.url), tested, plant)
  }

  test('each command in the scripts is a literal', () => {
    expect(COMMANDS.length).toBeGreaterThan(30)
    for (const { lua } of SCRIPTS) expect(lua.match(/redis\.p?call\((?!'[A-Z]+')/)).toBeNull()
  })

  test.each(COMMANDS)('without the right for %s no job is lost', async (command) => {
    const client = openClient(server.url)
    const user = `without-${command}`
    await client.call('ACL', 'SETUSER', user, 'on', '>pw', '~*', '&*', '+@all')
    const scenario = await open(client, user)
    await client.call('ACL', 'SETUSER', user, `-${command}`)
    await scenario.whileBroken()
    await client.call('ACL', 'SETUSER', user, `+${command}`)
    expect(await scenario.faults()).toEqual([])
  })

  test.each(['the channels', 'PUBLISH'])('without %s nothing fails', async (what) => {
    const client = openClient(server.url)
    const user = `mute-${what.length}`
    await client.call('ACL', 'SETUSER', user, 'on', '>pw', '~*', '+@all', ...(what === 'PUBLISH' ? ['&*'] : []))
    if (what === 'PUBLISH') await client.call('ACL', 'SETUSER', user, '-publish')
    const scenario = await open(client, user)
    await scenario.whileBroken()
    expect(await scenario.faults()).toEqual([])
  })

  const keys = new Keys('zyqueue')
  const KEYS: Readonly<Record<string, (queue: QueueKeys, consumerId: string) => string>> = {
    ready: ({ ready }) => ready,
    sorted: ({ sorted }) => sorted,
    delayed: ({ delayed }) => delayed,
    leases: ({ leases }) => leases,
    order: ({ order }) => order,
    waiters: ({ waiters }) => waiters,
    dead: ({ dead }) => dead,
    died: ({ died }) => died,
    held: ({ held }, consumerId) => held(consumerId),
    dedupe: ({ dedupe }) => dedupe('0mabcdefgh01234567890'),
    queues: () => keys.queues,
    workers: () => keys.workers,
  }
  test.each(Object.entries(KEYS))('with a key "%s" of another type no job is lost', async (_, keyOf) => {
    const client = openClient(server.url)
    const scenario = await open(client)
    const key = keyOf(keys.of(scenario.queue), scenario.consumerId)
    const wasString = (await client.type(key)) === 'string'
    const exists = (await client.exists(key)) === 1
    if (exists) await client.rename(key, `${key}:aside`)
    await (wasString || key.includes(':dedupe:') ? client.hset(key, 'a', 'b') : client.set(key, 'a'))
    await scenario.whileBroken()
    await client.del(key)
    if (exists) await client.rename(`${key}:aside`, key)
    expect(await scenario.faults()).toEqual([])
  })
})

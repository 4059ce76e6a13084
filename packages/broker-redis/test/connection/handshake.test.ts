/** The commands of the connection setup. If the server refuses one of them, connecting fails. */
import { startRedis, startRedisCluster, startRedisSentinel, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { RedisBroker } from '../../src/broker.ts'
import { message, openBroker, openClient } from '../support.ts'

function connectError(connection: string): Promise<unknown> {
  const broker = new RedisBroker({ connection, baseDir: '/' })
  onTestFinished(() => broker.close())
  return broker.connect().then(
    () => 'connected',
    (error: unknown) => error,
  )
}

await describeWithServer('redis', 'connecting', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  test('a missing database is refused, and the error names it', async () => {
    const error = await connectError(`${server.url}/99`)
    expect(error).toMatchObject({ code: 'ZYQ_CONNECTION_STRING', message: expect.stringContaining('database 99') })
    expect(await openClient(server.url).keys('*')).toEqual([])
  })

  test('sends HELLO, SELECT and EVAL, and prints nothing', async () => {
    const own = await startRedis()
    onTestFinished(() => own.stop())
    const client = openClient(own.url)
    await client.config('RESETSTAT')
    const print = vi.spyOn(console, 'warn')
    onTestFinished(() => print.mockRestore())
    const broker = await openBroker(`${own.url}/3`)
    const stats = await client.info('commandstats')
    const sent = [...stats.matchAll(/^cmdstat_([^:]+)/gm)].map(([, name]) => name)
    expect(sent.filter((name) => name !== 'info' && name !== 'config|resetstat').toSorted()).toEqual([
      'eval',
      'hello',
      'select',
    ])
    expect(print).not.toHaveBeenCalled()
    await broker.close()
  })

  test.each([
    ['select', /database 3.*select/],
    ['eval', /eval/],
  ])('a user without the right for %s is refused', async (command, words) => {
    const client = openClient(server.url)
    const user = `no-${command}`
    await client.call('ACL', 'SETUSER', user, 'on', '>pw', '~*', '&*', '+@all', `-${command}`)
    const error = await connectError(`redis://${user}:pw@127.0.0.1:${server.port}/3`)
    expect(error).toMatchObject({ code: 'ZYQ_AUTH', message: expect.stringMatching(words) })
  })

  test('a user without the rights for INFO and CLIENT connects, and nothing is printed', async () => {
    const client = openClient(server.url)
    await client.call('ACL', 'SETUSER', 'plain', 'on', '>pw', '~*', '&*', '+@all', '-info', '-client')
    const print = vi.spyOn(console, 'warn')
    onTestFinished(() => print.mockRestore())
    const broker = await openBroker(`redis://plain:pw@127.0.0.1:${server.port}/4`)
    await broker.declare([{ name: 'q', options: {} }])
    expect(await broker.publish([message('q', 'a')])).toEqual([{ status: 'stored' }])
    expect(print).not.toHaveBeenCalled()
    expect(await openClient(`${server.url}/4`).llen('zyqueue:{q}:ready')).toBe(1)
  })
})

await describeWithServer('redis', 'connecting with sentinels', () => {
  test('a missing database is refused', async () => {
    await using sentinel = await startRedisSentinel()
    expect(await connectError(`${sentinel.url}/99`)).toMatchObject({ code: 'ZYQ_CONNECTION_STRING' })
    const broker = await openBroker(`${sentinel.url}/5`)
    await broker.declare([{ name: 'q', options: {} }])
    expect(await openClient(`${sentinel.master.url}/5`).smembers('zyqueue:queues')).toEqual(['q'])
  })
})

await describeWithServer('redis', 'connecting to a cluster', () => {
  test('sends no SELECT', async () => {
    await using cluster = await startRedisCluster()
    for (const { url } of cluster.masters) await openClient(url).call('ACL', 'SETUSER', 'default', '-select')
    const broker = await openBroker(cluster.url)
    await broker.declare([{ name: 'q', options: {} }])
    expect(await broker.publish([message('q', 'a')])).toEqual([{ status: 'stored' }])
  })
})

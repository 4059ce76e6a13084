import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { brokerTests, pluginTests } from '@zyqueue/broker-test-kit'
import { ensureInstalled, startGearmand, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, test } from 'vitest'
import plugin from '../src/index.ts'
import { brokerAt, proxied } from './proxied.ts'
import { storeWorkload } from './support.ts'

const run = promisify(execFile)
const tool = await ensureInstalled('gearman')

/** A background job of a stock client. */
async function submitUnreadable({ port }: TestServer, queue: string): Promise<Uint8Array> {
  await run('gearman', ['-h', '127.0.0.1', '-p', String(port), '-b', '-f', queue, 'no JSON'])
  return Buffer.from('no JSON')
}

describe('plugin', () => pluginTests({ test, plugin }))

await describeWithServer('gearmand', 'one server', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startGearmand({ persistent: false })
  })
  const { close, ...brokers } = proxied(() => [server])
  afterAll(() => Promise.all([close(), server.stop()]))
  brokerTests({
    test: test.concurrent,
    ...brokers,
    restart: () => server.restart(),
    ...(tool.installed && { storeUnreadable: (queue: string) => submitUnreadable(server, queue) }),
    sample: brokerAt([4730]),
    brokerWithFinding: brokers.createBroker,
    timeoutMs: 30_000,
  })
})

await describeWithServer('gearmand', 'two servers', () => {
  let servers: readonly TestServer[] = []
  beforeAll(async () => {
    servers = await Promise.all([startGearmand({ persistent: false }), startGearmand({ persistent: false })])
  })
  const { close, ...brokers } = proxied(() => servers)
  afterAll(() => Promise.all([close(), ...servers.map((server) => server.stop())]))
  const restart = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.restart()))
  }
  brokerTests({
    test: test.concurrent,
    ...brokers,
    restart,
    storeUnreadable: (queue) => storeWorkload(servers[1]?.port ?? 0, queue, '#zyq9 {"shape":"new"}\nbody'),
    sample: brokerAt([4730, 4731]),
    brokerWithFinding: brokers.createBroker,
    timeoutMs: 30_000,
  })
})

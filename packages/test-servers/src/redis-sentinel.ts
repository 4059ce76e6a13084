import { setTimeout as sleep } from 'node:timers/promises'
import { ask } from './ports.ts'
import { startRedis, startWith } from './redis.ts'
import type { TestServer } from './server.ts'

const START_MS = 60_000
const MASTER = 'zyqueue'

/** A master, a replica, and three sentinels that watch them. */
export interface TestSentinel extends AsyncDisposable {
  readonly url: string
  /** The master, until the first failover. */
  readonly master: TestServer
  readonly replica: TestServer
  stop(): Promise<void>
}

/** Starts a master, a replica and three sentinels. Two sentinels must agree that the master is down, after ten seconds. */
export async function startRedisSentinel(): Promise<TestSentinel> {
  const servers: TestServer[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop()))
  }
  const register = async (starting: Promise<TestServer>): Promise<TestServer> => {
    const server = await starting
    servers.push(server)
    return server
  }
  try {
    const master = await register(startRedis({ config: 'repl-diskless-sync-delay 0' }))
    const replica = await register(startRedis({ config: `replicaof 127.0.0.1 ${master.port}` }))
    await until(replica.port, 'INFO replication', 'master_link_status:up')
    const config = [
      `sentinel monitor ${MASTER} 127.0.0.1 ${master.port} 2`,
      `sentinel down-after-milliseconds ${MASTER} 10000`,
      `sentinel failover-timeout ${MASTER} 5000`,
    ].join('\n')
    const sentinels: TestServer[] = []
    for (let index = 0; index < 3; index++) sentinels.push(await register(startWith({ config }, ['--sentinel'])))
    for (const { port } of sentinels)
      await until(port, 'INFO sentinel', `status=ok,address=127.0.0.1:${master.port},slaves=1,sentinels=3`)
    const url = `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${MASTER}`
    return { url, master, replica, stop, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function until(port: number, command: string, sign: string): Promise<void> {
  const giveUpAt = performance.now() + START_MS
  for (;;) {
    const answer = (await ask(port, `${command}\r\n`)).toString('latin1')
    if (answer.includes(sign)) return
    if (performance.now() > giveUpAt)
      throw new Error(`The answer of port ${port} to ${command} does not contain ${sign}:\n${answer}`)
    await sleep(50)
  }
}

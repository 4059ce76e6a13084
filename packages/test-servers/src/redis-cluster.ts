import { setTimeout as sleep } from 'node:timers/promises'
import { ask, freePort } from './ports.ts'
import { startWith } from './redis.ts'
import type { TestServer } from './server.ts'

const SLOTS = 16_384
const START_MS = 60_000

/** A cluster of masters without replicas. */
export interface TestCluster extends AsyncDisposable {
  readonly url: string
  readonly masters: readonly TestServer[]
  stop(): Promise<void>
}

/** Starts a Redis Cluster. Needs Redis 7.0, the first version with a configurable bus port. */
export async function startRedisCluster({ masters: count = 3 }: { masters?: number } = {}): Promise<TestCluster> {
  const masters: TestServer[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(masters.map((master) => master.stop()))
  }
  try {
    const busPorts: number[] = []
    for (let index = 0; index < count; index++) {
      const busPort = await freePort()
      const config = `cluster-enabled yes\ncluster-port ${busPort}\ncluster-node-timeout 15000`
      masters.push(await startWith({ config }))
      busPorts.push(busPort)
    }
    for (const [index, { port }] of masters.entries()) {
      const first = Math.ceil((SLOTS * index) / count)
      const last = Math.ceil((SLOTS * (index + 1)) / count) - 1
      await inline(port, `CLUSTER ADDSLOTSRANGE ${first} ${last}`)
      await inline(port, `CLUSTER SET-CONFIG-EPOCH ${index + 1}`)
    }
    const [first, ...others] = masters
    for (const { port } of others) await inline(port, `CLUSTER MEET 127.0.0.1 ${first?.port} ${busPorts[0]}`)
    await untilAll(masters, count)
  } catch (error) {
    await stop()
    throw error
  }
  const url = `redis+cluster://${masters.map(({ port }) => `127.0.0.1:${port}`).join(',')}`
  return { url, masters, stop, [Symbol.asyncDispose]: stop }
}

async function untilAll(masters: readonly TestServer[], count: number): Promise<void> {
  const until = performance.now() + START_MS
  for (const { port } of masters) {
    for (;;) {
      const info = (await ask(port, 'CLUSTER INFO\r\n')).toString('latin1')
      if (info.includes('cluster_state:ok') && info.includes(`cluster_size:${count}`)) break
      if (performance.now() > until) throw new Error(`The Redis Cluster did not form within ${START_MS} ms:\n${info}`)
      await sleep(20)
    }
  }
}

async function inline(port: number, command: string): Promise<void> {
  const answer = (await ask(port, `${command}\r\n`)).toString('latin1')
  if (!answer.startsWith('+OK')) throw new Error(`${command}: ${answer}`)
}

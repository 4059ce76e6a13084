import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startRedis } from '@zyqueue/test-servers'
import { Redis } from 'ioredis'
import type { BrokerBench, Entry, Target } from '../bench.ts'
import type { CaseOutcome } from '../suite.ts'

const peersFolder = fileURLToPath(new URL('../../peers/redis', import.meta.url))

const peer = (name: string, workBacklog: number): Entry => ({
  name,
  kind: 'peer',
  module: join(peersFolder, `${name}.js`),
  workBacklog,
  // At their rates a million jobs take minutes to submit.
  without: ['backlog'],
})

const own = (file: string): string => fileURLToPath(new URL(`./${file}`, import.meta.url))

export const redis: BrokerBench = {
  broker: 'redis',
  peersFolder,
  workers: 1,
  contestants: [
    { name: 'zyqueue', kind: 'ours', module: own('../ours.js'), workBacklog: 400_000, startsProcesses: true },
    peer('bullmq', 40_000),
    peer('bee-queue', 40_000),
    { name: 'adapter', kind: 'limit', module: own('adapter.js'), workBacklog: 500_000 },
    { name: 'raw', kind: 'limit', module: own('raw.js'), workBacklog: 1_000_000, without: ['latency', 'backlog'] },
    {
      name: 'redis-benchmark',
      kind: 'limit',
      module: own('redis-benchmark.js'),
      workBacklog: 0,
      without: ['submit', 'work', 'latency', 'backlog', 'memory'],
    },
  ],
  newTarget,
  targets: [
    { case: 'submitMany', text: "submitMany: at least 10 times BullMQ's addBulk", reached: timesBullmq(10) },
    { case: 'submit', text: "submit: at least 4 times BullMQ's add", reached: timesBullmq(4) },
    {
      case: 'work',
      text: "work: one process does at least 6 times what BullMQ's worker does",
      reached: timesBullmq(6),
    },
    {
      case: 'work',
      text: "work: at most half of BullMQ's CPU time of Redis for each job",
      reached: (_ours, _best, { cpu }) => half(cpu['zyqueue']?.server, cpu['bullmq']?.server),
    },
    {
      case: 'memory',
      text: "memory: at most half of BullMQ's bytes for each waiting job",
      reached: (ours, _best, { peers }) => half(ours, peers['bullmq']),
    },
    { case: 'latency', text: 'latency: under 2 ms', reached: (ours) => ours < 2 },
    { case: 'backlog', text: 'backlog: no slower at 1,000,000 (ratio at least 0.9)', reached: (ours) => ours >= 0.9 },
  ],
}

function timesBullmq(times: number): (ours: number, best: number | undefined, outcome: CaseOutcome) => boolean {
  return (ours, _best, { peers }) => ours >= times * (peers['bullmq'] ?? 0)
}

function half(ours: number | undefined, theirs: number | undefined): boolean {
  return theirs === undefined || (ours ?? Infinity) <= theirs / 2
}

/** A new server, whose append-only file is synced every second. */
async function newTarget(): Promise<Target> {
  const server = await startRedis({ config: 'appendfsync everysec' })
  return {
    address: server.url,
    serverPid: server.pid,
    async usedBytes() {
      const client = new Redis(server.url)
      const memory = await client.info('memory')
      client.disconnect()
      return Number(/used_memory:(\d+)/.exec(memory)?.[1])
    },
    [Symbol.asyncDispose]: () => server.stop(),
  }
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BrokerBench, Entry, Target } from '../bench.ts'

const peersFolder = fileURLToPath(new URL('../../peers/sqlite', import.meta.url))

const peer = (name: string, workBacklog: number, without: Entry['without'] = []): Entry => ({
  name,
  kind: 'peer',
  module: join(peersFolder, `${name}.js`),
  workBacklog,
  without,
})

const own = (file: string): string => fileURLToPath(new URL(`./${file}`, import.meta.url))

export const sqlite: BrokerBench = {
  broker: 'sqlite',
  peersFolder,
  workers: 2,
  without: ['memory'],
  contestants: [
    { name: 'zyqueue', kind: 'ours', module: own('../ours.js'), workBacklog: 150_000, startsProcesses: true },
    peer('plainjob', 15_000),
    peer('liteque', 2_000),
    // With 1,000,000 waiting jobs, its first claim takes minutes.
    peer('sidequest', 4_000, ['backlog']),
    { name: 'adapter', kind: 'limit', module: own('adapter.js'), workBacklog: 200_000 },
    { name: 'raw', kind: 'limit', module: own('raw.js'), workBacklog: 300_000, without: ['latency', 'backlog'] },
  ],
  newTarget,
  targets: [
    {
      case: 'submitMany',
      text: 'submitMany: at least 150,000 jobs/s in one process',
      reached: (ours) => ours >= 150_000,
    },
    { case: 'work', text: 'work: at least 30,000 jobs/s with two processes', reached: (ours) => ours >= 30_000 },
    { case: 'submit', text: 'submit: at least 5 times the best peer', reached: fiveTimes },
    { case: 'work', text: 'work: at least 5 times the best peer', reached: fiveTimes },
    { case: 'latency', text: 'latency: under 5 ms', reached: (ours) => ours < 5 },
    { case: 'backlog', text: 'backlog: no slower at 1,000,000 (ratio at least 0.9)', reached: (ours) => ours >= 0.9 },
  ],
}

function fiveTimes(ours: number, bestPeer: number | undefined): boolean {
  return bestPeer === undefined || ours >= 5 * bestPeer
}

/** A new folder on the disk for temporary files. The cost of durability depends on this disk. */
async function newTarget(): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), 'zyqueue-bench-'))
  return {
    address: `sqlite:${join(folder, 'queue.db')}`,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

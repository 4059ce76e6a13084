import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startGearmand } from '@zyqueue/test-servers'
import type { BrokerBench, Entry, Target } from '../bench.ts'
import type { CaseOutcome } from '../suite.ts'

const peersFolder = fileURLToPath(new URL('../../peers/gearman', import.meta.url))
const own = (file: string): string => fileURLToPath(new URL(`./${file}`, import.meta.url))

/** A peer needs a few seconds for its backlog; ZyQueue and the limits need one or two. */
const WORK_BACKLOG = { peer: 100_000, other: 600_000 }
/** gearmand finds a job by a linear search in a hash chain. With its default of 991 chains the benchmark would measure this search. */
const HASH_BUCKETS = 1_000_003

const contestant = (name: string, kind: Entry['kind'], module: string, more: Partial<Entry> = {}): Entry => ({
  name,
  kind,
  module,
  workBacklog: kind === 'peer' ? WORK_BACKLOG.peer : WORK_BACKLOG.other,
  without: ['backlog'],
  ...more,
})

const peer = (name: string): Entry => contestant(name, 'peer', join(peersFolder, `${name}.js`))

export const gearman: BrokerBench = {
  broker: 'gearman',
  peersFolder,
  workers: 2,
  without: ['memory'],
  contestants: [
    contestant('zyqueue', 'ours', own('../ours.js'), { startsProcesses: true }),
    peer('abraxas'),
    peer('node-gearman'),
    contestant('adapter', 'limit', own('adapter.js')),
    contestant('raw', 'limit', own('raw.js'), { without: ['latency', 'backlog'] }),
  ],
  newTarget,
  targets: [
    { case: 'submit', text: 'submit: at least 10 times abraxas', reached: times(10, ({ peers }) => peers['abraxas']) },
    {
      case: 'submit',
      text: 'submit: at least 0.6 of the raw loop',
      reached: times(0.6, ({ limits }) => limits['raw']),
    },
    { case: 'work', text: 'work: at least 1.8 times abraxas', reached: times(1.8, ({ peers }) => peers['abraxas']) },
    { case: 'work', text: 'work: at least 0.85 of the raw loop', reached: times(0.85, ({ limits }) => limits['raw']) },
  ],
}

function times(factor: number, of: (outcome: CaseOutcome) => number | undefined) {
  return (ours: number, _bestPeer: number | undefined, outcome: CaseOutcome): boolean =>
    ours >= factor * (of(outcome) ?? 0)
}

/** A new server that keeps its jobs in memory, so that only the protocol is measured. */
async function newTarget(): Promise<Target> {
  const server = await startGearmand({ persistent: false, args: [`--hashtable-buckets=${HASH_BUCKETS}`] })
  return { address: server.url, serverPid: server.pid, [Symbol.asyncDispose]: () => server.stop() }
}

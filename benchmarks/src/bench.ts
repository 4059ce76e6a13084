import type { CaseOutcome } from './suite.ts'

/** What the bench of one broker consists of. */
export interface BrokerBench {
  /** As in `pnpm bench <broker>`. */
  readonly broker: string
  readonly contestants: readonly Entry[]
  /** Where the peers' package.json is: they are no dependencies of the workspace. */
  readonly peersFolder: string
  /** How many worker processes empty the backlog in `work`. */
  readonly workers: number
  /** The cases that say nothing about this broker. */
  readonly without?: readonly CaseName[]
  /** A new, empty queue for one measurement. */
  newTarget(): Promise<Target>
  readonly targets: readonly Goal[]
}

export interface Target extends AsyncDisposable {
  /** What `Contestant.open` gets: a connection string. */
  readonly address: string
  /** The server's process, where there is one. */
  readonly serverPid?: number
  /** How much memory the server has in use, where it can tell. */
  usedBytes?(): Promise<number>
}

export interface Entry {
  /** `zyqueue`, the npm package of a peer, or `raw`. */
  readonly name: string
  readonly kind: 'ours' | 'peer' | 'limit'
  /** The built module with its `contestant`. */
  readonly module: string
  /** Jobs that wait when its work is measured: enough for a few seconds, and no more, so that nobody pays for a backlog. */
  readonly workBacklog: number
  /** Whether it has `startProcesses`: the harness then starts one of it, not one for each worker. */
  readonly startsProcesses?: boolean
  /** The cases that it cannot do, or that say nothing about it. */
  readonly without?: readonly CaseName[]
}

export type CaseName = 'submit' | 'submitMany' | 'work' | 'latency' | 'backlog' | 'memory'

export interface Goal {
  readonly case: CaseName
  readonly text: string
  /** `bestPeer` is undefined where no peer could be measured. `outcome` has the rest: single peers, CPU time. */
  reached(ours: number, bestPeer: number | undefined, outcome: CaseOutcome): boolean
}

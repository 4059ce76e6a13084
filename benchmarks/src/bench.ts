import type { CaseOutcome } from './suite.ts'

/** The benchmark of one broker. */
export interface BrokerBench {
  /** As in `pnpm bench <broker>`. */
  readonly broker: string
  readonly contestants: readonly Entry[]
  /** The folder with the package.json of the peers, which are not dependencies of the workspace. */
  readonly peersFolder: string
  /** The number of worker processes in `work`. */
  readonly workers: number
  /** The cases that do not apply to this broker. */
  readonly without?: readonly CaseName[]
  /** Creates a new, empty queue for one measurement. */
  newTarget(): Promise<Target>
  readonly targets: readonly Goal[]
}

export interface Target extends AsyncDisposable {
  /** The connection string for `Contestant.open`. */
  readonly address: string
  /** The process of the server, if there is one. */
  readonly serverPid?: number
  /** The memory that the server uses. Absent if the server does not report it. */
  usedBytes?(): Promise<number>
}

export interface Entry {
  /** `zyqueue`, the npm package of a peer, or `raw`. */
  readonly name: string
  readonly kind: 'ours' | 'peer' | 'limit'
  /** The built module with its `contestant`. */
  readonly module: string
  /** The backlog of the case `work`: enough jobs for a few seconds. A larger backlog would slow some peers down. */
  readonly workBacklog: number
  /** Whether it has `startProcesses`. The harness then starts one contestant process instead of one for each worker. */
  readonly startsProcesses?: boolean
  /** The cases that it cannot do or that do not apply to it. */
  readonly without?: readonly CaseName[]
}

export type CaseName = 'submit' | 'submitMany' | 'work' | 'latency' | 'backlog' | 'memory'

export interface Goal {
  readonly case: CaseName
  readonly text: string
  /** `bestPeer` is undefined if no peer was measured. `outcome` contains single peers and CPU times. */
  reached(ours: number, bestPeer: number | undefined, outcome: CaseOutcome): boolean
}

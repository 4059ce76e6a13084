import type { FaultProxy } from '@zyqueue/broker-test-kit'
import type { TestServer } from '@zyqueue/test-servers'

/** One broker under test, with an empty queue. */
export interface Target extends AsyncDisposable {
  /** The connection string of the processes, through the proxy if there is one. */
  readonly connection: string
  /** The connection string without the proxy, for the checks. */
  readonly direct: string
  readonly server?: TestServer
  readonly proxy?: FaultProxy
  /** Uses up all space for jobs, and frees it again. */
  readonly space?: { exhaust(): Promise<void>; restore(): Promise<void> }
  /** Clears the broker's caches, such as scripts, and closes the connections of clients. */
  readonly injectFault?: () => Promise<void>
  /** Deletes all data on the disk of the stopped broker. */
  readonly wipe?: () => Promise<void>
}

/** What a fault requires of its target. */
export interface TargetRequirements {
  /** Connections must pass through a proxy. */
  readonly proxied: boolean
  /** The disk must be small enough to fill it. */
  readonly small: boolean
  /** No other run may use the server. */
  readonly exclusive: boolean
}

export interface TargetKind {
  readonly broker: string
  /** Sentences for the page of results: the setup of the broker, and what is lost with another setup. */
  readonly setUp: string
  /** Whether it is a server, which can be killed and reached through a proxy. */
  readonly isServer: boolean
  /** Whether its targets have `space`. */
  readonly hasSpaceLimit: boolean
  /** Whether its targets have `injectFault`. */
  readonly hasInjectedFault: boolean
  /** Whether a kill may break a queue that is just being created. `warmUp` then creates all queues before the load starts. */
  readonly losesNewQueues: boolean
  /** Whether the engine counts a broken connection as a lost owner. A bad network may then turn jobs into poison. */
  readonly countsLostConnections: boolean
  /** Whether each id is stored once. `false` if a release stores a copy, because a crash can leave two jobs with one id. */
  readonly idsAreUnique: boolean
  start(requirements: TargetRequirements): Promise<Target>
}

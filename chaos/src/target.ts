import type { FaultProxy } from '@zyqueue/broker-test-kit'
import type { TestServer } from '@zyqueue/test-servers'

/** One broker to be broken, with an empty queue. */
export interface Target extends AsyncDisposable {
  /** What the cell's processes connect to: through the proxy, where there is one. */
  readonly connection: string
  /** The way past the proxy, for whoever looks on. */
  readonly direct: string
  readonly server?: TestServer
  readonly proxy?: FaultProxy
  /** Takes all room for jobs away, and gives it back. */
  readonly space?: { exhaust(): Promise<void>; restore(): Promise<void> }
  /** Makes the broker forget what it only caches: scripts, declarations, consumers. */
  readonly injectFault?: () => Promise<void>
  /** Deletes all that the broker has on its disk; it is not running. */
  readonly wipe?: () => Promise<void>
}

/** What a fault asks of its target. */
export interface TargetRequirements {
  /** A proxy before it. */
  readonly proxied: boolean
  /** A disk that can be filled. */
  readonly small: boolean
  /** Nobody else's: the fault is the whole server's. */
  readonly exclusive: boolean
}

export interface TargetKind {
  readonly broker: string
  /** How it is set up here, and what does not survive where it is set up otherwise: sentences for the results. */
  readonly setUp: string
  /** Whether it is a server of its own, which can be killed and which a proxy can stand before. */
  readonly isServer: boolean
  /** Whether its targets have `room`, and `injectFault`. */
  readonly hasSpaceLimit: boolean
  readonly hasInjectedFault: boolean
  /** Whether it makes queues as jobs need them, and may lose one that is new: before it is killed, all that jobs pass are made. */
  readonly losesNewQueues: boolean
  /** Whether the engine counts a connection that broke as an owner that died: a bad network may condemn jobs then. */
  readonly countsLostConnections: boolean
  /** Where a release stores a job anew, a crash in between leaves two of one id. */
  readonly idsAreUnique: boolean
  start(requirements: TargetRequirements): Promise<Target>
}

import type { Broker } from '@zyqueue/core/broker'

/** Connects the suite to a broker and to a test runner. */
export interface BrokerHarness {
  /** The runner's function: `test` of node:test, Vitest, Jest or Mocha. Runners that accept a timeout get it as the last argument. */
  readonly test: (name: string, body: () => Promise<void>, timeoutMs: number) => unknown

  /** Creates a broker that is not connected. All brokers use the same storage. The suite uses new queues and closes the broker. */
  readonly createBroker: () => Broker | Promise<Broker>

  /**
   * A broker with the same options that is never connected, so it needs no server. Its capabilities and methods decide which
   * tests run.
   */
  readonly sample: Broker

  /**
   * Cuts the connections of this broker as the end of its process does, without notice, and all new ones. The suite uses it to
   * lose the owner of a job. Required if `leases.kind` is `connection`. An engine that runs in the process has no connections:
   * leave the hook out, and the tests of lost connections do not run. `behindProxies` provides this hook and the next four.
   */
  readonly killConnection?: (broker: Broker) => void | Promise<void>

  /** Stalls the connections of this broker: they stay open, new ones are accepted, and no bytes pass. Needs `killConnection`. */
  readonly stallConnection?: (broker: Broker) => void | Promise<void>

  /**
   * Undoes `killConnection` and `stallConnection`: new connections of the broker reach the engine. Needs `killConnection`.
   */
  readonly healConnection?: (broker: Broker) => void | Promise<void>

  /**
   * Waits until the broker sends bytes, forwards them to the engine, and ends the connection before an answer returns. Then it
   * resolves, and new connections pass.
   */
  readonly loseAnswer?: (broker: Broker) => Promise<void>

  /** The number of open connections of this broker to the engine. */
  readonly openConnections?: (broker: Broker) => number

  /**
   * Ends the engine, preferably with SIGKILL, and starts it with its stored data. Resolves when it answers. All existing brokers
   * lose their connections, or are closed if the engine runs in their process. No other test of the suite runs meanwhile.
   */
  readonly restart?: () => Promise<void>

  /**
   * Stores a value that no version of the adapter writes, behind the waiting jobs of this queue. Resolves to its bytes, which
   * must become the body of the dead letter.
   */
  readonly storeUnreadable?: (queue: string) => Promise<Uint8Array>

  /** Creates a broker with other settings or another storage, not connected, whose `admin.check` must return a finding. */
  readonly brokerWithFinding?: () => Broker | Promise<Broker>

  /** Receives the summary line at the end. Default: writes it to the standard output. */
  readonly report?: (line: string) => void

  /** The shortest lease, in milliseconds, that the engine supports reliably. Default: 1000. */
  readonly leaseMs?: number

  /**
   * The message timeout in milliseconds, if `leases.kind` is `message` (SQS, JetStream, beanstalkd). It should be short, because
   * tests hold messages for longer. If a test fails after the process was blocked, so that the adapter may have extended a
   * timeout too late, the test runs once again.
   */
  readonly messageTimeoutMs?: number

  /** The longest wait for an expected event, in milliseconds. Default: 10,000, or five times `messageTimeoutMs` if that is more. */
  readonly timeoutMs?: number

  /**
   * The longest wait for a delayed job after a restart, in milliseconds. Some engines deliver a job that was in flight between
   * two queues only after a timeout. Default: `timeoutMs`.
   */
  readonly delayedAfterRestartMs?: number
}

import type { Broker } from '@zyqueue/core/broker'

/** What binds the suite to a broker and to a test runner. */
export interface BrokerHarness {
  /** The runner's own: `test` of node:test, Vitest, Jest or Mocha. The last argument is a bound for those that take one there. */
  readonly test: (name: string, body: () => Promise<void>, timeoutMs: number) => unknown

  /** A new broker, not connected, of the same storage at every call. The suite uses queues of its own, and closes it. */
  readonly createBroker: () => Broker | Promise<Broker>

  /**
   * A broker of the same options that is never connected, and so needs no server yet. The suite reads what it can do, to name
   * the tests and to leave out those that do not apply.
   */
  readonly sample: Broker

  /**
   * Cuts the connections of this broker as the end of its process would, without telling it; new ones are cut too. The suite
   * ends the owner of a job with it; a broker whose `lease` is `connection` does not pass without. An engine in the process
   * has none, and the tests of lost connections are not there then. `behindProxies` makes this and the next.
   */
  readonly killConnection?: (broker: Broker) => void | Promise<void>

  /** Has the connections of this broker fall silent: they stay, new ones are accepted, and nothing passes any more. Needs `killConnection` beside it. */
  readonly stallConnection?: (broker: Broker) => void | Promise<void>

  /**
   * Undoes `killConnection` and `stallConnection`: what the broker connects from now on reaches the engine. Needs
   * `killConnection` beside it. `behindProxies` makes this and the next two.
   */
  readonly healConnection?: (broker: Broker) => void | Promise<void>

  /**
   * When called, it has the next bytes that this broker sends reach the engine, and ends their connection before an answer comes
   * back. Resolves when that has happened; from then on connections pass.
   */
  readonly loseAnswer?: (broker: Broker) => Promise<void>

  /** How many connections of this broker to the engine are open. */
  readonly openConnections?: (broker: Broker) => number

  /**
   * Ends the engine, best as a crash would, and starts it with what it has stored; resolves when it answers. All brokers made
   * before lose their connections, or are closed if the engine is in their process. The suite runs nothing else meanwhile.
   */
  readonly restart?: () => Promise<void>

  /**
   * Puts a value that no version of the adapter wrote to where the jobs of this queue wait, behind those that are there.
   * Resolves to its bytes, which must become the body of its dead letter.
   */
  readonly storeUnreadable?: (queue: string) => Promise<Uint8Array>

  /** A broker of another storage or with other settings, not connected, in which `admin.check` must find something to tell. */
  readonly brokerWithFinding?: () => Broker | Promise<Broker>

  /** Gets one line at the end that tells how much was tested. Default: it is written to the standard output. */
  readonly report?: (line: string) => void

  /** A short lease, in milliseconds, that the engine still keeps. Default: 1000. */
  readonly leaseMs?: number

  /**
   * How long the engine waits for the holder of a message before it gives it to another, in milliseconds; for engines with
   * such a timer, as SQS, JetStream and beanstalkd have. Keep it short: tests hold messages for longer. A test that fails
   * after this process was held up, so that the adapter may have come too late with an extension, is run again.
   */
  readonly messageTimeoutMs?: number

  /** How long what has to happen may take, in milliseconds. Default: 10,000, or five times `messageTimeoutMs` if that is more. */
  readonly timeoutMs?: number

  /**
   * How long after a restart a delayed job may take to come, in milliseconds; for engines that offer a job that was on its way
   * again only after a time of their own. Default: `timeoutMs`.
   */
  readonly delayedAfterRestartMs?: number
}

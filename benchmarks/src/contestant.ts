import type { Tally } from './tally.ts'

/**
 * The interface of every measured queue: ZyQueue, the peers, and the raw driver as the limit.
 *
 * A contestant is a module with a `contestant` export. Each measurement loads it in a new process, so that it starts with a clean
 * heap and its CPU time is separate.
 */
export interface Contestant {
  /** Opens the queue at a ZyQueue connection string. */
  open(connection: string): Promise<Session>
}

export interface Session {
  /** Submits one job. Resolves when it is stored with the durability of the benchmark. The harness keeps up to 500 submits pending. */
  submit(payload: Payload): Promise<unknown>
  /** Submits many jobs with the fastest bulk call of the queue. Reads the iterable lazily. */
  submitMany(payloads: Iterable<Payload>): Promise<unknown>
  /** Fills a backlog as fast as possible; not measured. Default: `submitMany`. */
  fill?(payloads: Iterable<Payload>): Promise<unknown>
  /** Starts a worker in this process with the fastest settings. Resolves to a function that settles all jobs and stops it. */
  work(handle: (payload: Payload) => Promise<void> | void): Promise<() => Promise<unknown>>
  /**
   * Starts `count` worker processes as users do, with their supervisor. Resolves when they take jobs. The handlers only count.
   * If present, the cases `work` and `latency` use this method instead of `work`.
   */
  startProcesses?(count: number): Promise<WorkerProcesses>
  /** The number of jobs that are not done. The harness uses it to check that every counted job was done exactly once. */
  waiting(): Promise<number>
  close(): Promise<unknown>
}

export interface WorkerProcesses {
  /** The tally of all processes so far. */
  done(): Tally
  /** Settles all jobs and ends the processes. */
  end(): Promise<Tally>
}

/** About 100 bytes of JSON. */
export interface Payload {
  readonly id: number
  readonly file: string
  readonly user: string
  /** The time of the submit for the case `latency`, on the clock of `now()`. */
  readonly sentAt: number
}

export function payload(id: number): Payload {
  const number = String(id).padStart(7, '0')
  return { id, file: `/photos/2026/11/image-${number}.jpg`, user: `user-${number}`, sentAt: now() }
}

/** Milliseconds of `process.hrtime`, a clock that all processes of a machine share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

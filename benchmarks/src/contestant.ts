import type { Tally } from './tally.ts'

/**
 * What the harness asks of every queue that it measures: ours, the peers, and the raw driver as the limit.
 *
 * A contestant is a module with a `contestant` export. It is loaded in a process of its own for every measurement, so
 * that each starts with a clean heap and its CPU time can be told from the others'.
 */
export interface Contestant {
  /** Opens the queue behind a connection string as ZyQueue reads it. */
  open(connection: string): Promise<Session>
}

export interface Session {
  /** One job. Resolves when it is stored as durably as the bench says; the harness keeps up to 500 under way. */
  submit(payload: Payload): Promise<unknown>
  /** Many jobs, by the queue's best bulk call. Reads the iterable as it goes. */
  submitMany(payloads: Iterable<Payload>): Promise<unknown>
  /** The fastest way to a backlog; not measured. Absent means `submitMany`. */
  fill?(payloads: Iterable<Payload>): Promise<unknown>
  /** Starts a worker in this process, as its authors would run it for throughput; resolves to what stops it, everything settled. */
  work(handle: (payload: Payload) => Promise<void> | void): Promise<() => Promise<unknown>>
  /**
   * Where users have worker processes started for them, under what keeps them: starts so many; resolves when
   * they take jobs. Their handlers only count. `work` and `latency` use this instead of
   * `work` where it is there.
   */
  startProcesses?(count: number): Promise<WorkerProcesses>
  /** Jobs that are neither done nor lost: with it the harness checks that every job counted was done, once. */
  waiting(): Promise<number>
  close(): Promise<unknown>
}

export interface WorkerProcesses {
  /** What they have done so far. */
  done(): Tally
  /** Ends them, everything settled. */
  end(): Promise<Tally>
}

/** About 100 bytes of JSON. */
export interface Payload {
  readonly id: number
  readonly file: string
  readonly user: string
  /** For the latency case: the clock of `process.hrtime`, which processes share, in ms. */
  readonly sentAt: number
}

export function payload(id: number): Payload {
  const number = String(id).padStart(7, '0')
  return { id, file: `/photos/2026/11/image-${number}.jpg`, user: `user-${number}`, sentAt: now() }
}

/** Milliseconds, on a clock that all processes of a machine share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

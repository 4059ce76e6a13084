/**
 * What core publishes to `node:diagnostics_channel`, for tracing and metrics. While a channel has no subscriber, core makes no
 * message for it. Subscribe by the names below, for instance with `diagnostics_channel.subscribe('zyqueue.job', …)`.
 */
import { channel, tracingChannel, type Channel, type TracingChannel } from 'node:diagnostics_channel'

/** The message of the tracing channel `zyqueue.submit`: one call of `submit`, `submitMany` or `call`. */
export interface SubmitTrace {
  readonly task: string
  readonly queue: string
  readonly broker: string
  /** The number of jobs; undefined for `submitMany`, which reads them from a source. */
  readonly jobs: number | undefined
  /** Headers that a subscriber of `start` adds travel with every job of the call, for instance `traceparent`. */
  readonly headers: Record<string, string>
}

/** The message of the tracing channel `zyqueue.run`: one attempt, with its middleware. */
export interface RunTrace {
  readonly task: string
  readonly queue: string
  readonly id: string
  /** 1 on the first attempt. */
  readonly attempt: number
  readonly headers: Readonly<Record<string, string>>
  /** When the broker stored the job, in ms since 1970, if it knows. */
  readonly storedAtMs: number | undefined
  readonly worker: string
}

/**
 * How an attempt ended. `dead`: the job is a dead letter, or its caller learned of the failure. `expired`: the job was deleted,
 * because it is older than the `expiresMs` of its submit, or would be at its next attempt.
 */
export type JobEnd = 'done' | 'discarded' | 'retried' | 'postponed' | 'expired' | 'dead'

/** The message of the channel `zyqueue.job`: the end of one attempt, or of a job that was refused or expired without one. */
export interface JobEndEvent {
  readonly end: JobEnd
  readonly task: string | undefined
  readonly queue: string
  readonly id: string
  /** 0 if the job was refused or expired without an attempt. */
  readonly attempt: number
  /** How long the attempt took, in ms. */
  readonly durationMs: number
  /** What the attempt threw, or why the job was refused. */
  readonly error: unknown
  /** After how many ms a retried or postponed job is ready again. */
  readonly delayMs: number
}

/** The message of the channel `zyqueue.worker`: a worker has changed its state. */
export interface WorkerStateEvent {
  readonly worker: string
  readonly name: string
  readonly state: string
}

export const submitTracing: TracingChannel<unknown, SubmitTrace> = tracingChannel('zyqueue.submit')
export const runTracing: TracingChannel<unknown, RunTrace> = tracingChannel('zyqueue.run')
export const jobChannel: Channel = channel('zyqueue.job')
export const workerChannel: Channel = channel('zyqueue.worker')

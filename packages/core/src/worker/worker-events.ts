import { z } from 'zod'
import type { Delivery } from '../contract/index.ts'
import { jobChannel, type JobEndEvent } from '../diagnostics.ts'
import type { ZyQueueError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { parseOptions } from '../parse-options.ts'
import type { AnyTask } from '../tasks/task.ts'
import type { Job } from './job.ts'
import type { Outcome } from './outcome.ts'

/** What a worker's `on` reports, by the name of the event. */
export interface WorkerEvents {
  /** An attempt starts. */
  readonly start: Job
  /** An attempt has ended with any outcome, or a job was refused or expired without an attempt. */
  readonly end: JobEndEvent
  /** An attempt failed, and the job is retried. The event `end` comes too. */
  readonly retry: JobEndEvent
  /** A handler postponed its job. The event `end` comes too. */
  readonly postpone: JobEndEvent
  /** A job became a dead letter, or its caller learned of the failure. The event `end` comes too. */
  readonly dead: JobEndEvent
  /** Receiving jobs from a broker failed. The worker retries by itself. */
  readonly error: ZyQueueError
}

/** A listener of one event. What it returns is ignored; what it throws or rejects with is logged. */
export type WorkerListener<Name extends keyof WorkerEvents> = (event: WorkerEvents[Name]) => unknown

type Listeners = { [Name in keyof WorkerEvents]?: readonly WorkerListener<Name>[] }

/** An attempt, if there was one. */
export interface AttemptFacts {
  readonly attempt: number
  readonly durationMs: number
}

const UNATTEMPTED: AttemptFacts = { attempt: 0, durationMs: 0 }

/** Reports what happens in a worker to its listeners and to the channel `zyqueue.job`. Makes no event if nothing listens. */
export class WorkerReports {
  readonly #log: Logger
  #listeners: Listeners = {}

  constructor(log: Logger) {
    this.#log = log
  }

  /** Throws `ConfigError` (`ZYQ_CONFIG`): callers in JavaScript may give any values. */
  on<Name extends keyof WorkerEvents>(name: Name, listener: WorkerListener<Name>): void {
    parseOptions(onSchema, { event: name, listener }, 'worker.on')
    const known: Listeners[Name] = this.#listeners[name]
    const added: readonly WorkerListener<Name>[] = [...(known ?? []), listener]
    this.#listeners = { ...this.#listeners, [name]: added }
  }

  started(job: Job): void {
    this.#call('start', job)
  }

  failed(error: ZyQueueError): void {
    this.#call('error', error)
  }

  /** A job that goes back unstarted has no end. */
  ended(
    { id, queue }: Delivery,
    task: AnyTask | undefined,
    outcome: Outcome,
    { attempt, durationMs }: AttemptFacts = UNATTEMPTED,
  ): void {
    const { end } = outcome
    if (end === undefined || !this.#isHeard(end)) return
    const event: JobEndEvent = {
      end,
      task: task?.name,
      queue,
      id,
      attempt,
      durationMs,
      error: outcome.error ?? (outcome.kind === 'reject' ? outcome.reason : undefined),
      delayMs: outcome.kind === 'release' ? outcome.delayMs : 0,
    }
    if (jobChannel.hasSubscribers) jobChannel.publish(event)
    this.#call('end', event)
    const name = NAMES[end]
    if (name !== undefined) this.#call(name, event)
  }

  #isHeard(end: JobEndEvent['end']): boolean {
    const name = NAMES[end]
    const { end: all } = this.#listeners
    return jobChannel.hasSubscribers || all !== undefined || (name !== undefined && this.#listeners[name] !== undefined)
  }

  #call<Name extends keyof WorkerEvents>(name: Name, event: WorkerEvents[Name]): void {
    const listeners: Listeners[Name] = this.#listeners[name]
    if (listeners === undefined) return
    for (const listener of listeners) void this.#callOne(name, () => listener(event))
  }

  /** A listener cannot change how a job ends, or end the process. */
  async #callOne(name: string, call: () => unknown): Promise<void> {
    try {
      await call()
    } catch (error) {
      this.#log.error({ err: error }, `a listener of the worker's event "${name}" failed`)
    }
  }
}

const onSchema = z.object({
  event: z.enum(['start', 'end', 'retry', 'postpone', 'dead', 'error']),
  listener: z.custom((value) => typeof value === 'function', 'expected a function'),
})

/** The events of single ends. */
const NAMES: { readonly [End in JobEndEvent['end']]?: 'retry' | 'postpone' | 'dead' } = {
  retried: 'retry',
  postponed: 'postpone',
  dead: 'dead',
}

import type { Delivery } from '../contract/index.ts'
import type { EndingJob } from '../hooks/batch-hooks.ts'
import { HookBatches } from '../hooks/hook-batches.ts'
import { errorForLog } from '../error-fields.ts'
import type { Logger } from '../logger.ts'
import type { AnyTask } from '../tasks/task.ts'
import type { Job } from './job.ts'
import type { Work } from './execution.ts'
import { GIVE_BACK, isOutcome, type Outcome } from './outcome.ts'

/** The delay of a job whose hook failed. */
const RETRY_MS = 1_000

/** Calls the start and settle hooks of a worker's tasks. */
export class WorkerHooks {
  readonly #starts: HookBatches<Job, 'start' | Outcome>
  readonly #decisions = new WeakMap<Job, Promise<'start' | Outcome>>()
  readonly #ends: HookBatches<EndingJob, Outcome>

  constructor(log: Logger) {
    this.#starts = new HookBatches<Job, 'start' | Outcome>({
      call: async (hooks, jobs) => (await hooks.start?.(jobs)) ?? [],
      isResult: (decision) => decision === 'start' || isOutcome(decision),
      onFailure(job, thrown) {
        const err = errorForLog(thrown)
        log.error({ task: job.task, job: job.id, err }, 'start hook failed: the job returns to its queue')
        return { kind: 'release', delayMs: RETRY_MS }
      },
    })
    this.#ends = new HookBatches<EndingJob, Outcome>({
      call: async (hooks, jobs) => (await hooks.settle?.(jobs)) ?? [],
      isResult: isOutcome,
      onFailure(job, thrown) {
        const err = errorForLog(thrown)
        log.error(
          { task: job.task, job: job.id, err },
          'settle hook failed: the job returns to its queue and runs again',
        )
        return { kind: 'release', delayMs: RETRY_MS }
      },
    })
  }

  /**
   * The decision of the start hook: `start`, or an outcome if the job must not start. Undefined without a hook. Never
   * rejects.
   */
  start({ options: { hooks } }: AnyTask, job: Job): Promise<'start' | Outcome> | undefined {
    if (hooks?.start === undefined || job.foreground) return undefined
    const deciding = this.#starts.add(hooks, job)
    this.#decisions.set(job, deciding)
    return deciding
  }

  /** The outcome of a job that goes back while it waits for its start hook, or runs. Never rejects. */
  giveBack({ task, job }: Pick<Work, 'task' | 'job'>, delivery: Delivery): Outcome | Promise<Outcome> {
    const giveBack = (decision: 'start' | Outcome): Outcome | Promise<Outcome> =>
      decision === 'start' ? this.settle(task, delivery, true, GIVE_BACK) : decision
    return this.#decisions.get(job)?.then(giveBack) ?? giveBack('start')
  }

  /** The outcome to send to the broker, or a promise of it if the task has a settle hook. Never rejects. */
  settle(
    task: AnyTask | undefined,
    delivery: Delivery,
    started: boolean,
    outcome: Outcome,
  ): Outcome | Promise<Outcome> {
    const hooks = task?.options.hooks
    if (task === undefined || hooks?.settle === undefined || delivery.foreground === true) return outcome
    const { id, queue, headers } = delivery
    return this.#ends.add(hooks, { id, task: task.name, queue, headers, started, outcome })
  }
}

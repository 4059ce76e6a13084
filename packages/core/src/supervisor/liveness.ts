import { hostMonotonicMs } from '../host-clock.ts'
import type { Logger } from '../logger.ts'
import type { Sentence, WorkerHandle } from './worker-handle.ts'

/** A process that runs jobs and is silent for so long, some beats, has its event loop blocked. */
const BLOCKED_MS = 1_200

/**
 * Kills worker processes that will not go on by themselves: those whose job is past its hard timeout, and those that are
 * up and do nothing. One that is silent because its handler blocks it is neither: it is at work.
 */
export class Liveness {
  readonly #stallMs: number
  readonly #log: Logger
  readonly #stuckSince = new WeakMap<WorkerHandle, number>()
  readonly #slowStarts = new WeakSet<WorkerHandle>()

  constructor(stallMs: number, log: Logger) {
    this.#stallMs = stallMs
    this.#log = log
  }

  /** To be called for each worker several times a second. */
  look(worker: WorkerHandle): void {
    this.#killOverdue(worker)
    this.#killStuck(worker)
    this.#noteSlowStart(worker)
  }

  /**
   * A process that gave a sign of life after a job's time was up is not blocked: that job is to blame itself. One that
   * is blocked is so by one of the jobs that have started, and all of them may be overdue for it.
   */
  #killOverdue(worker: WorkerHandle): void {
    if (!worker.hardTimeouts || worker.sentence !== undefined) return
    const now = hostMonotonicMs()
    const running = worker.running().filter(({ started }) => started)
    const overdue = running.filter(({ deadlineMs }) => deadlineMs > 0 && deadlineMs < now)
    if (overdue.length === 0) return
    const proven = overdue.filter(({ deadlineMs }) => deadlineMs < worker.freeAt)
    if (proven.length > 0) this.#killFor(worker, { guilty: proven, suspected: [] })
    else if (worker.silentMs < BLOCKED_MS) return
    else if (running.length === 1) this.#killFor(worker, { guilty: overdue, suspected: [] })
    else this.#killFor(worker, { guilty: [], suspected: overdue })
  }

  #killFor(worker: WorkerHandle, sentence: Sentence): void {
    const jobs = [...sentence.guilty, ...sentence.suspected].map(({ jobId }) => jobId)
    this.#log.error(
      { worker: worker.name, pid: worker.pid, jobs },
      'job is past its hard timeout: its process is killed',
    )
    worker.killFor(sentence)
  }

  #killStuck(worker: WorkerHandle): void {
    if (worker.stage !== 'ready' || worker.silentMs < this.#stallMs || worker.running().length > 0) {
      this.#stuckSince.delete(worker)
      return
    }
    // Where this very process was frozen, beats that have come meanwhile are about to be read.
    const since = this.#stuckSince.get(worker)
    if (since === undefined) this.#stuckSince.set(worker, performance.now())
    else if (performance.now() - since > this.#stallMs) {
      this.#log.error(
        { worker: worker.name, pid: worker.pid },
        'worker gives no sign of life and runs no job: it is killed',
      )
      worker.kill()
    }
  }

  /** How long a task file may take is not ours to say, but somebody may wait in vain. */
  #noteSlowStart(worker: WorkerHandle): void {
    if (worker.stage !== 'starting' || worker.ageMs < this.#stallMs || this.#slowStarts.has(worker)) return
    this.#slowStarts.add(worker)
    this.#log.warn(
      { worker: worker.name, pid: worker.pid },
      'worker is not ready yet: its task file or its broker takes long',
    )
  }
}

import { hostMonotonicMs } from '../host-clock.ts'
import type { Logger } from '../logger.ts'
import { decideKill } from '../worker/poison.ts'
import type { WorkerHandle } from './worker-handle.ts'

/** If a process that runs jobs sends no heartbeat for this time, its event loop is blocked. */
const BLOCKED_MS = 1_200

/**
 * Kills worker processes whose job is past its hard timeout, and ready processes that send no heartbeat and run no job. A
 * process whose handler blocks the event loop is not killed before a hard timeout.
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

  /** Must be called for each worker several times a second. */
  look(worker: WorkerHandle): void {
    this.#killOverdue(worker)
    this.#killStuck(worker)
    this.#noteSlowStart(worker)
  }

  #killOverdue(worker: WorkerHandle): void {
    if (!worker.hardTimeouts || worker.killDecision !== undefined) return
    const decision = decideKill(worker.running(), {
      now: hostMonotonicMs(),
      freeAt: worker.freeAt,
      isBlocked: worker.silentMs >= BLOCKED_MS,
    })
    if (decision === undefined) return
    const jobs = [...decision.culprits, ...decision.runAlone].map(({ jobId }) => jobId)
    this.#log.error(
      { worker: worker.name, pid: worker.pid, jobs },
      'job exceeded its hard timeout: killing its process',
    )
    worker.killFor(decision)
  }

  #killStuck(worker: WorkerHandle): void {
    if (worker.stage !== 'ready' || worker.silentMs < this.#stallMs || worker.running().length > 0) {
      this.#stuckSince.delete(worker)
      return
    }
    // If the supervisor itself was frozen, it has not read the latest heartbeats yet.
    const since = this.#stuckSince.get(worker)
    if (since === undefined) this.#stuckSince.set(worker, performance.now())
    else if (performance.now() - since > this.#stallMs) {
      this.#log.error({ worker: worker.name, pid: worker.pid }, 'worker sends no heartbeat and runs no job: killing it')
      // The end of the process may be reported after the next check: do not log the kill twice.
      this.#stuckSince.delete(worker)
      worker.kill()
    }
  }

  /** A task file may take any time to load. The warning helps a waiting operator. */
  #noteSlowStart(worker: WorkerHandle): void {
    if (worker.stage !== 'starting' || worker.ageMs < this.#stallMs || this.#slowStarts.has(worker)) return
    this.#slowStarts.add(worker)
    this.#log.warn(
      { worker: worker.name, pid: worker.pid },
      'worker is not ready yet: its task file or its broker is slow',
    )
  }
}

export type WorkerState = 'new' | 'starting' | 'running' | 'draining' | 'closed'

/** A worker's figures at a moment. */
export interface WorkerStatus {
  readonly state: WorkerState
  /** Attempts that have ended since the start. */
  readonly done: number
  /** Jobs that were done, discarded, expired or became dead letters since the start. */
  readonly jobs: number
  /** The jobs that became dead letters since the start. */
  readonly dead: number
  /** Jobs that have expired since the start: see `expiresMs`. */
  readonly expired: number
  readonly running: number
  /** Received and not started. */
  readonly waiting: number
}

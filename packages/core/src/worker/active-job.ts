import type { Delivery } from '../contract/index.ts'
import type { ConsumerLoop } from './consumer-loop.ts'
import type { ConsumerSession } from './consumer-session.ts'
import type { Work } from './execution.ts'
import type { Runnable, RunLedger } from './scheduler.ts'

/** One delivery inside a worker. */
export interface ActiveJob extends Runnable {
  readonly session: ConsumerSession
  readonly delivery: Delivery
  readonly work: Work
}

/** What a supervised worker reports to its supervisor. */
export interface Supervision {
  readonly ledger: RunLedger<ActiveJob> & { start(job: ActiveJob, deadlineMs?: number): void }
  /** True if this process replaces one that died. */
  readonly afterDeath: boolean
  /** True if the worker waits at its start until its brokers are available. Otherwise it gives up after 30 seconds. */
  readonly waitsForBroker: boolean
  /** True if the supervisor has ended. The worker then starts no job: nothing renews its leases while a handler blocks it. */
  readonly isOrphan: () => boolean
  /** Called when a consumer starts or ends. */
  readonly onSessions: (loops: readonly ConsumerLoop[]) => void
  /** Called with the reason when the worker ends by itself: it reached `maxJobs`, or all its consumers fail. */
  readonly onFinishing: (reason: string) => void
}

/** True if this process still runs the same job for a lease that it has lost. The new delivery waits for the end of that run. */
export function runsInAnotherSession(running: ReadonlySet<ActiveJob>, { delivery, session }: ActiveJob): boolean {
  const { id, queue, deliveryCount } = delivery
  if (deliveryCount === 0) return false
  return [...running].some(
    (other) => other.session !== session && other.delivery.id === id && other.delivery.queue === queue,
  )
}

/** What is done if an operator has deleted a queue, its exchange or a binding. */
import type { Lane } from './intake.ts'
import { dueQueueOf, type Plan } from './options.ts'
import type { Session } from './session.ts'
import { bindAgain, declare } from './topology.ts'

/** How often the queues of a consumer are bound anew, in ms. */
const BIND_MS = 5_000

/** Declares a queue again, and its place behind the ladder of delays: jobs whose time comes would find no queue. */
export async function restore({ workbench, ladder }: Session, plan: Plan): Promise<void> {
  await declare(workbench, plan)
  if (plan.temporary) return
  ladder.forget()
  await ladder.prepareQueue(dueQueueOf(plan))
}

/**
 * Binds a consumer's queues anew from time to time: nothing tells it that an exchange or a binding was deleted. Returns what
 * ends that.
 */
export function keepBound(session: () => Session, lanes: readonly Lane[]): () => void {
  const bindAll = async (): Promise<void> => {
    for (const { plan, source, gone } of lanes) {
      const isBound = plan.temporary || source === plan.name
      if (isBound && !gone) await bindAgain(session().workbench, plan, source)
    }
  }
  // What fails is tried again. A queue that was deleted is restored by its consumer, and what differs fails its next declaration.
  const timer = setInterval(() => void bindAll().catch(() => undefined), BIND_MS).unref()
  return () => clearInterval(timer)
}

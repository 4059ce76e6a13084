/** What is done if an operator has deleted a queue, its exchange or a binding. */
import type { QueueSubscription } from './intake.ts'
import { dueQueueOf, type Plan } from './options.ts'
import type { Session } from './session.ts'
import { bindAgain, declare } from './topology.ts'

/** How often the queues of a consumer are bound anew, in ms. */
const BIND_MS = 5_000

/** Declares a queue again, and its place behind the ladder of delays: jobs whose time comes would find no queue. */
export async function restore({ workbench, ladder }: Session, plan: Plan): Promise<void> {
  await declare(workbench, plan)
  if (plan.temporary) return
  const due = dueQueueOf(plan)
  ladder.forgetQueue(due)
  await ladder.prepareQueue(due)
}

/**
 * Binds a consumer's queues anew from time to time: nothing tells it that an exchange or a binding was deleted. Returns what
 * ends that.
 */
export function keepBound(session: () => Session, lanes: readonly QueueSubscription[]): () => void {
  // A failure is tried again. The consumer restores a queue that was deleted, and a queue that differs fails its next declaration.
  const bindOne = async ({ plan, source, gone }: QueueSubscription): Promise<void> => {
    const isBound = plan.temporary || source === plan.name
    if (!isBound || gone) return
    try {
      await bindAgain(session().workbench, plan, source)
    } catch {
      // Other queues must be bound all the same.
    }
  }
  let isBinding = false
  const bindAll = async (): Promise<void> => {
    if (isBinding) return
    isBinding = true
    for (const lane of lanes) await bindOne(lane)
    isBinding = false
  }
  const timer = setInterval(() => void bindAll(), BIND_MS).unref()
  return () => clearInterval(timer)
}

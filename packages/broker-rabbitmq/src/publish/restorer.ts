import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError, type PublishResult } from '@zyqueue/core/broker'
import type { ConnectionState } from '../connection/connection-state.ts'
import { errorCode, messageOf } from '../errors.ts'
import type { Plan } from '../options.ts'
import { countsOf, declare } from '../topology.ts'
import type { Outgoing } from './publish-channel.ts'

/**
 * The pause before a deleted queue is declared. If a queue exists again when 3.10 ends the consumers of the old one, it moves
 * them to the new queue without a notice, and drops what they get there.
 */
const CANCEL_MS = 500
/** A queue is not restored again for this time if that did not help. */
const RESTORE_AGAIN_MS = 5_000

/** A message for a queue that core knows by this name. */
export interface Copy extends Outgoing {
  readonly queue: string
}

/** Whether the queue is declared; if not, `cause` may say why. */
interface Restored {
  readonly isRestored: boolean
  readonly cause?: unknown
}

/** Publishes. Declares queues that were deleted, and sends again what was unroutable for that reason. */
export class Restorer {
  readonly #plans: ReadonlyMap<string, Plan>
  /** Restorations that are under way or did not help, and until when (by `performance.now()`) they are not repeated. */
  readonly #last = new Map<string, { readonly restored: Promise<Restored>; readonly untilMs: number }>()

  constructor(plans: ReadonlyMap<string, Plan>) {
    this.#plans = plans
  }

  async publish(state: ConnectionState, copies: readonly Copy[]): Promise<readonly PublishResult[]> {
    const results = [...(await state.publisher.publish(copies))]
    const again: (readonly [number, Copy])[] = []
    for (const [index, copy] of copies.entries()) {
      if (!isUnroutable(results[index])) continue
      const { isRestored, cause } = await this.#restore(state, copy.queue)
      if (isRestored) again.push([index, copy])
      else if (cause !== undefined) results[index] = { status: 'refused', error: notDeclared(copy.queue, cause) }
    }
    if (again.length === 0) return results
    // The first results hold for copies that are not sent again.
    const repeated = await state.publisher.publish(again.map(([, copy]) => copy)).catch(() => [])
    for (const [position, [index, { queue }]] of again.entries()) {
      const result = repeated[position]
      if (result === undefined) continue
      results[index] = result
      if (isUnroutable(result)) this.#pause(queue, { isRestored: false })
    }
    return results
  }

  /** Concurrent calls share one restoration. Never rejects. */
  #restore(state: ConnectionState, queue: string): Promise<Restored> {
    const plan = this.#plans.get(queue)
    if (plan === undefined || plan.passive) return Promise.resolve({ isRestored: false })
    const last = this.#last.get(queue)
    if (last !== undefined && performance.now() < last.untilMs) return last.restored
    const restored = this.#declare(state, plan)
    this.#last.set(queue, { restored, untilMs: Infinity })
    return restored
  }

  async #declare(state: ConnectionState, plan: Plan): Promise<Restored> {
    try {
      const isDeleted = !plan.temporary && (await countsOf(state.declareChannel, plan.name)) === undefined
      if (isDeleted) await sleep(CANCEL_MS, undefined, { ref: false })
      state.delayLevels.forget()
      await declare(state, plan)
      this.#last.delete(plan.name)
      return { isRestored: true }
    } catch (cause) {
      if (state.connection.open) this.#pause(plan.name, { isRestored: false, cause })
      else this.#last.delete(plan.name)
      return { isRestored: false, cause }
    }
  }

  #pause(queue: string, restored: Restored): void {
    this.#last.set(queue, { restored: Promise.resolve(restored), untilMs: performance.now() + RESTORE_AGAIN_MS })
  }
}

function isUnroutable(result: PublishResult | undefined): boolean {
  return result?.status === 'refused' && errorCode(result.error) === 'ZYQ_UNROUTABLE'
}

function notDeclared(queue: string, cause: unknown): BrokerError {
  const text = `RabbitMQ cannot route to the queue "${queue}", which cannot be declared again: ${messageOf(cause)}`
  return new BrokerError('ZYQ_UNROUTABLE', text, { cause })
}

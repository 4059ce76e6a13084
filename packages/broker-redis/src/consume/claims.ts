import { ConnectionLostError, leaseLostError, ServerError } from '../errors.ts'
import type { Keys, QueueKeys } from '../keys.ts'
import type { Leases } from './leases.ts'
import { bytes, integer, isList, list, text, type Reply } from '../connection/replies.ts'
import { claim } from '../scripts/claim.ts'
import type { Servers } from '../connection/servers.ts'

/** How often a consumer looks at all its queues by itself, in ms: for what came due, leases that ran out, a wake-up that was lost. */
export const POLL_MS = 1000
/** The most queues that one claim asks, but for a look. */
const MAX_QUEUES = 32
/** The least time, in ms, between two errors of broken queues while other queues are served. */
const ERROR_INTERVAL_MS = 2_000

/** One job that has come into a consumer's hands. */
export interface ClaimedJob {
  readonly keys: QueueKeys
  /** The number of the delivery: the fence. */
  readonly tag: number
  readonly encoded: Buffer
}

/** Queues whose keys may stand in one script, and how many jobs they may give. */
interface Group {
  readonly queues: readonly QueueKeys[]
  readonly room: number
}

/** What was asked, and not answered. */
interface Unanswered {
  /** The first number under which that was. */
  readonly since: number
  readonly groups: readonly Group[]
}

/** A consumer's way to jobs: which of its queues to ask next, and how to ask so that no job is lost with an answer. One call at a time. */
export class Claims {
  readonly #servers: Servers
  readonly #names: Keys
  readonly #leases: Leases
  readonly #queues: readonly QueueKeys[]
  readonly #consumerId: string
  /** Queues in which there may be something. In the others this consumer is noted as one that waits. */
  #dirtyQueues: QueueKeys[] = []
  /** The number of the last claim. */
  #number = 0
  #unanswered: Unanswered | undefined
  /** On the clock of `performance.now()`. */
  #pollAt = 0
  #dueAt = Infinity
  /** The error of a queue, for the next claim: the last one brought jobs of others. */
  #deferredError: { readonly error: unknown } | undefined
  /** When the errors of some queues may be told again. */
  #reportAt = 0

  constructor(servers: Servers, names: Keys, leases: Leases, queues: readonly QueueKeys[], consumerId: string) {
    this.#servers = servers
    this.#names = names
    this.#leases = leases
    this.#queues = queues
    this.#consumerId = consumerId
  }

  /** In how many ms there is reason to ask; 0 is now. */
  get dueInMs(): number {
    if (this.#unanswered !== undefined || this.#dirtyQueues.length > 0) return 0
    return Math.max(0, Math.min(this.#pollAt, this.#dueAt) - performance.now())
  }

  /** There may be something in this queue. */
  markDirty(keys: QueueKeys): void {
    if (!this.#dirtyQueues.includes(keys)) this.#dirtyQueues.push(keys)
  }

  /** The next time, all queues are asked: something may have been missed. */
  pollAll(): void {
    this.#pollAt = 0
  }

  /**
   * Takes at most `room` jobs, or those of a claim whose answer was lost. Rejects with `ZYQ_LEASE_LOST` if the lease has ended,
   * with the error of the queues if all that it asks fail, and now and then if some do. Then it has claimed nothing.
   */
  async claim(room: number): Promise<readonly ClaimedJob[]> {
    const untold = this.#deferredError
    this.#deferredError = undefined
    if (untold !== undefined) throw untold.error
    const number = ++this.#number
    const { since, groups } = (this.#unanswered ??= { since: number, groups: this.#groups(room) })
    const answers = await Promise.allSettled(groups.map((group) => this.#sendClaim(group, number, since)))
    const claimed: ClaimedJob[] = []
    const unanswered: Group[] = []
    const errors: unknown[] = []
    let served = false
    let rejected = false
    for (const [index, group] of groups.entries()) {
      const answer = answers[index]
      if (answer?.status === 'fulfilled') {
        const before = errors.length
        claimed.push(...this.#readReply(group.queues, answer.value, errors))
        served ||= errors.length - before < group.queues.length
      } else {
        rejected = true
        errors.push(answer?.reason)
        if (answer?.reason instanceof ConnectionLostError) unanswered.push(group)
        else this.pollAll()
      }
    }
    this.#unanswered = unanswered.length > 0 ? { since, groups: unanswered } : undefined
    if (claimed.length === 0 && (rejected || (errors.length > 0 && !served))) throw errors[0]
    this.#report(errors, claimed)
    return claimed
  }

  /** Others go on to be served while a queue fails, and its error is told at times. What was cut off is asked again by itself. */
  #report(errors: readonly unknown[], claimed: readonly ClaimedJob[]): void {
    const told = errors.filter((error) => !(error instanceof ConnectionLostError))
    if (told.length === 0 || performance.now() < this.#reportAt) return
    this.#reportAt = performance.now() + ERROR_INTERVAL_MS
    if (claimed.length === 0) throw told[0]
    this.#deferredError = { error: told[0] }
  }

  #sendClaim({ queues, room }: Group, number: number, since: number): Promise<Reply> {
    const consumer = this.#consumerId
    const keys = queues.flatMap(({ ready, sorted, delayed, order, waiters, leases, held }) => [
      ready,
      sorted,
      delayed,
      order,
      waiters,
      leases,
      held(consumer),
    ])
    return this.#servers.run(claim, keys, [consumer, number, since, room, this.#names.wake])
  }

  #groups(room: number): readonly Group[] {
    const groups = this.#servers.groupBySlot(this.#nextQueues())
    const asked = groups.slice(0, room)
    for (const keys of groups.slice(room).flat()) this.markDirty(keys)
    return asked.map((queues, index) => ({ queues, room: Math.ceil((room - index) / asked.length) }))
  }

  /** Those that may have something; all of them where it is time to look. Which was served last is last in turn. */
  #nextQueues(): readonly QueueKeys[] {
    const now = performance.now()
    if (now < this.#pollAt && now < this.#dueAt) return this.#dirtyQueues.splice(0, MAX_QUEUES)
    this.#pollAt = now + POLL_MS
    this.#dueAt = Infinity
    const dirty = this.#dirtyQueues
    this.#dirtyQueues = []
    return [...dirty, ...this.#queues.filter((keys) => !dirty.includes(keys))]
  }

  /** A queue that failed leaves its error, and the others are served: it is asked again with the next look. */
  #readReply(queues: readonly QueueKeys[], reply: Reply, errors: unknown[]): readonly ClaimedJob[] {
    if (!isList(reply)) throw leaseLostError(this.#consumerId)
    const claimed: ClaimedJob[] = []
    const served: QueueKeys[] = []
    for (const [index, keys] of queues.entries()) {
      const answer = reply[index]
      if (Buffer.isBuffer(answer)) {
        errors.push(new ServerError(`${answer.toString()} (queue ${keys.queue})`))
        continue
      }
      const [first, dueInMs, expired, jobs] = list(answer)
      for (const [position, job] of list(jobs).entries()) {
        if (job !== null) claimed.push({ keys, tag: integer(first) + position, encoded: bytes(job) })
      }
      if (list(jobs).length > 0) served.push(keys)
      else if (integer(first) < 0) this.markDirty(keys)
      if (integer(dueInMs) >= 0) this.#dueAt = Math.min(this.#dueAt, performance.now() + integer(dueInMs))
      const owner = text(expired)
      if (owner !== '') void this.#endExpired(owner, keys)
    }
    // Behind those that were not asked.
    for (const keys of served) this.markDirty(keys)
    return claimed
  }

  /** Whoever is alive notices; whoever is first ends it, and that wakes one of those that wait. */
  async #endExpired(owner: string, keys: QueueKeys): Promise<void> {
    try {
      await this.#leases.end(owner, [keys], 'expired')
    } catch {
      // The next look finds it again.
    }
  }
}

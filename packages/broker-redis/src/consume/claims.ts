import { ConnectionLostError, leaseLostError, ServerError } from '../errors.ts'
import type { QueueKeys } from '../keys.ts'
import type { Leases } from './leases.ts'
import { bytes, integer, isList, list, text, type Reply } from '../connection/replies.ts'
import { claim } from '../scripts/claim.ts'
import type { Servers } from '../connection/servers.ts'

/** A consumer polls all its queues at this interval, in ms: for due jobs, expired leases and lost wake-ups. */
export const POLL_MS = 1000
/** The maximum number of queues in a claim that does not poll all queues. */
const MAX_QUEUES = 32
/** The minimum time between two reported errors of failing queues while other queues work, in ms. */
const ERROR_INTERVAL_MS = 2_000

export interface ClaimedJob {
  readonly keys: QueueKeys
  /** The number of the delivery. The scripts settle a job only under this number. */
  readonly tag: number
  readonly encoded: Buffer
}

/** Queues whose keys one script may use, and the maximum number of jobs from them. */
interface Group {
  readonly queues: readonly QueueKeys[]
  readonly room: number
}

/** An error of one queue has the keys of its claim. */
interface Failure {
  readonly error: unknown
  readonly keys?: readonly string[]
}

/** Claims without an answer. */
interface Unanswered {
  /** The number of the first of these claims. */
  readonly since: number
  readonly groups: readonly Group[]
}

/**
 * Claims jobs for a consumer: chooses the queues of each claim, and repeats a claim whose answer was lost, so that its jobs are
 * not lost. Calls of `claim` must not overlap.
 */
export class Claims {
  readonly #servers: Servers
  readonly #leases: Leases
  readonly #queues: readonly QueueKeys[]
  readonly #consumerId: string
  /** Queues that may have jobs. In all other queues, the consumer is in the set of waiters. */
  #dirtyQueues: QueueKeys[] = []
  /** The number of the last claim. */
  #number = 0
  #unanswered: Unanswered | undefined
  /** The time of the next poll of all queues, as `performance.now()` has it; the times below likewise. */
  #pollAt = 0
  #dueAt = Infinity
  /** The error of a queue, which the next claim throws because the last one had jobs from other queues. */
  #deferredError: { readonly error: unknown } | undefined
  /** Errors of single queues are not reported before this time. */
  #reportAt = 0

  constructor(servers: Servers, leases: Leases, queues: readonly QueueKeys[], consumerId: string) {
    this.#servers = servers
    this.#leases = leases
    this.#queues = queues
    this.#consumerId = consumerId
  }

  /** The time until the next claim is useful, in ms. */
  get dueInMs(): number {
    if (this.#unanswered !== undefined || this.#dirtyQueues.length > 0) return 0
    return Math.max(0, Math.min(this.#pollAt, this.#dueAt) - performance.now())
  }

  /** Must be called if this queue may have jobs. */
  markDirty(keys: QueueKeys): void {
    if (!this.#dirtyQueues.includes(keys)) this.#dirtyQueues.push(keys)
  }

  /** The next claim polls all queues, because wake-ups may have been lost. */
  pollAll(): void {
    this.#pollAt = 0
  }

  /**
   * Claims at most `room` jobs, or the jobs of an earlier claim whose answer was lost. Rejects with `ZYQ_LEASE_LOST` if the lease
   * has ended. Rejects with the error of a queue if all queues of the claim fail, and once per `ERROR_INTERVAL_MS` if some fail.
   * If it rejects, it has claimed nothing.
   */
  async claim(room: number): Promise<readonly ClaimedJob[]> {
    const deferred = this.#deferredError
    this.#deferredError = undefined
    if (deferred !== undefined) throw deferred.error
    const number = ++this.#number
    const { since, groups } = (this.#unanswered ??= { since: number, groups: this.#groups(room) })
    const answers = await Promise.allSettled(groups.map((group) => this.#sendClaim(group, number, since)))
    const claimed: ClaimedJob[] = []
    const unanswered: Group[] = []
    const failures: Failure[] = []
    let served = false
    let rejected = false
    for (const [index, group] of groups.entries()) {
      const answer = answers[index]
      if (answer?.status === 'fulfilled') {
        const before = failures.length
        claimed.push(...this.#readReply(group.queues, answer.value, failures))
        served ||= failures.length - before < group.queues.length
      } else {
        rejected = true
        failures.push({ error: answer?.reason })
        if (answer?.reason instanceof ConnectionLostError) unanswered.push(group)
        else this.pollAll()
      }
    }
    this.#unanswered = unanswered.length > 0 ? { since, groups: unanswered } : undefined
    const [failure] = failures
    if (failure === undefined) return claimed
    if (claimed.length === 0 && (rejected || !served)) throw await this.#errorOf(failure)
    await this.#report(failures, claimed)
    return claimed
  }

  /** Limits how often errors of single queues are reported. Lost connections are not reported, because the claim is repeated. */
  async #report(failures: readonly Failure[], claimed: readonly ClaimedJob[]): Promise<void> {
    const reportable = failures.find(({ error }) => !(error instanceof ConnectionLostError))
    if (reportable === undefined || performance.now() < this.#reportAt) return
    this.#reportAt = performance.now() + ERROR_INTERVAL_MS
    const error = await this.#errorOf(reportable)
    if (claimed.length === 0) throw error
    this.#deferredError = { error }
  }

  async #errorOf({ error, keys }: Failure): Promise<unknown> {
    return keys === undefined ? error : this.#servers.explain(error, keys)
  }

  #sendClaim({ queues, room }: Group, number: number, since: number): Promise<Reply> {
    const consumer = this.#consumerId
    const keys = queues.flatMap((queue) => claimKeys(queue, consumer))
    return this.#servers.run(claim, keys, [consumer, number, since, room, this.#servers.keys.wake])
  }

  #groups(room: number): readonly Group[] {
    const groups = this.#servers.groupBySlot(this.#nextQueues())
    const asked = groups.slice(0, room)
    for (const keys of groups.slice(room).flat()) this.markDirty(keys)
    return asked.map((queues, index) => ({ queues, room: Math.ceil((room - index) / asked.length) }))
  }

  /** The dirty queues first, in the order in which they were marked; all others too if it is time to poll. */
  #nextQueues(): readonly QueueKeys[] {
    const now = performance.now()
    if (now < this.#pollAt && now < this.#dueAt) return this.#dirtyQueues.splice(0, MAX_QUEUES)
    this.#pollAt = now + POLL_MS
    this.#dueAt = Infinity
    const dirty = this.#dirtyQueues
    this.#dirtyQueues = []
    return [...dirty, ...this.#queues.filter((keys) => !dirty.includes(keys))]
  }

  /** Adds the errors of single queues to `failures`. The next poll claims from these queues again. */
  #readReply(queues: readonly QueueKeys[], reply: Reply, failures: Failure[]): readonly ClaimedJob[] {
    if (!isList(reply)) throw leaseLostError(this.#consumerId)
    const claimed: ClaimedJob[] = []
    const served: QueueKeys[] = []
    for (const [index, keys] of queues.entries()) {
      const answer = reply[index]
      if (Buffer.isBuffer(answer)) {
        failures.push({ error: new ServerError(answer.toString()), keys: claimKeys(keys, this.#consumerId) })
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
    // After the queues that this claim skipped, so that each queue gets its turn.
    for (const keys of served) this.markDirty(keys)
    return claimed
  }

  /** Each consumer of the queue may find the expired lease. The first call makes its jobs ready and wakes a waiting consumer. */
  async #endExpired(owner: string, keys: QueueKeys): Promise<void> {
    try {
      await this.#leases.end(owner, [keys], 'expired')
    } catch {
      // The next poll finds it again.
    }
  }
}

function claimKeys({ ready, sorted, delayed, order, waiters, leases, held }: QueueKeys, consumer: string) {
  return [ready, sorted, delayed, order, waiters, leases, held(consumer)]
}

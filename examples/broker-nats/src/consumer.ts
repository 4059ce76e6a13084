import type { Msg, Subscription } from '@nats-io/transport-node'
import {
  Bell,
  type Consumer,
  type ConsumeOptions,
  type Delivery,
  type Rejection,
  type Release,
  type SettleResult,
  type WorkerStats,
} from '@zyqueue/core/broker'
import { fromHeaders, type Envelope } from './message.ts'
import { closed, connectionLost, refuseDelay } from './errors.ts'
import { DEAD, deadSubject, durableOf, JOBS, jobSubject, wakeSubject } from './names.ts'
import type { Session } from './session.ts'

const WAIT_MS = 1_000
/** How many jobs of one queue are asked for at once; each is a request of its own. */
const MOST_AT_ONCE = 64
/** `no_wait` leaves a request without an answer where another has just taken the last job; a short wait nearly always has one. */
const LOOK_NS = 20_000_000

interface Job {
  readonly queue: string
  readonly message: Msg
  readonly envelope: Envelope
  readonly sequence: number
  state: 'held' | 'settling'
  /** When the server may give it to another, on the clock of `performance.now`. */
  deadline: number
}

export class NatsConsumer implements Consumer {
  readonly #session: Session
  readonly #options: ConsumeOptions
  readonly #queues: readonly string[]
  readonly #ackWaitMs: number
  readonly #onClosed: () => void
  readonly #connectedAtMs = Date.now()
  readonly #jobs = new Map<Delivery, Job>()
  /** What had come for a call that was aborted: for the next one. */
  #kept: Delivery[] = []
  #claiming: Promise<void> | undefined
  readonly #settling = new Set<Promise<unknown>>()
  readonly #bell = new Bell()
  readonly #wakes: readonly Subscription[]
  readonly #renewal: NodeJS.Timeout
  #turn = 0
  #closing: Promise<void> | undefined

  constructor(session: Session, options: ConsumeOptions, ackWaitMs: number, onClosed: () => void) {
    this.#session = session
    this.#options = options
    this.#queues = [...new Set(options.queues.map(({ name }) => name))]
    this.#ackWaitMs = ackWaitMs
    this.#onClosed = onClosed
    const callback = (): void => this.#bell.ring()
    this.#wakes = this.#queues.map((queue) => session.connection.subscribe(wakeSubject(queue), { callback }))
    this.#renewal = setInterval(() => void this.#renew(), ackWaitMs / 4).unref()
  }

  get stats(): WorkerStats & { readonly activeOf: Readonly<Record<string, number>> } {
    const active = new Map(this.#queues.map((queue) => [queue, 0]))
    for (const { queue } of this.#jobs.values()) active.set(queue, (active.get(queue) ?? 0) + 1)
    const { consumerId: id, client } = this.#options
    return {
      id,
      client,
      queues: this.#queues,
      active: this.#jobs.size,
      connectedAtMs: this.#connectedAtMs,
      activeOf: Object.fromEntries(active),
    }
  }

  async receive(max: number, { signal }: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    this.#assertUsable()
    if (signal.aborted) return []
    const until = performance.now() + WAIT_MS
    let onAbort = (): void => undefined
    const aborted = new Promise<void>((resolve) => {
      onAbort = () => {
        resolve()
        this.#bell.ring()
      }
    })
    signal.addEventListener('abort', onAbort)
    try {
      for (;;) {
        this.#claiming ??= this.#claim(max).finally(() => (this.#claiming = undefined))
        await Promise.race([this.#claiming, aborted])
        if (this.#closing !== undefined || signal.aborted) return []
        if (this.#kept.length > 0) return this.#kept.splice(0, max)
        const left = until - performance.now()
        if (left <= 0) return []
        await this.#bell.wait(left)
        if (this.#closing !== undefined || signal.aborted) return []
        this.#assertUsable()
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  async ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(
      deliveries.map((delivery) => ({ delivery })),
      async () => undefined,
    )
  }

  async release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    for (const { delayMs } of releases) refuseDelay(delayMs)
    return this.#settle(releases, (job, { headers }) => this.#republish(job, headers))
  }

  async reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]> {
    return this.#settle(rejections, ({ queue, message, envelope, sequence }, { reason, headers }) =>
      this.#session.store(
        deadSubject(queue),
        message.data,
        { ...envelope, reason, headers: headers ?? envelope.headers },
        `${DEAD} ${sequence}`,
      ),
    )
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#bell.ring()
    await Promise.allSettled([this.#claiming, ...this.#settling])
    // Released anew, since the server would count a delivery for what is only given back.
    const held = [...this.#jobs].filter(([, { state }]) => state === 'held')
    await this.#settle(
      held.map(([delivery]) => ({ delivery })),
      (job) => this.#republish(job),
    ).catch(() => undefined)
    clearInterval(this.#renewal)
    for (const wake of this.#wakes) wake.unsubscribe()
    this.#jobs.clear()
    this.#onClosed()
  }

  /** Under the same name for the same message: done twice, it is stored once. */
  #republish({ queue, message, envelope, sequence }: Job, headers = envelope.headers): Promise<void> {
    return this.#session.store(jobSubject(queue), message.data, { ...envelope, headers }, `${JOBS} ${sequence}`)
  }

  /** Asks each queue in turn for one, then for what it has told that it has, within the room. Rejects if nothing came. */
  async #claim(max: number): Promise<void> {
    const order = [...this.#queues.slice(this.#turn), ...this.#queues.slice(0, this.#turn)]
    let wanted = new Map(order.map((queue) => [queue, 1]))
    for (let share = 1; wanted.size > 0; share = Math.min(2 * share, MOST_AT_ONCE)) {
      let room = Math.min(max - this.#kept.length, this.#options.prefetch - this.#jobs.size)
      const asked: Promise<readonly [queue: string, left: number]>[] = []
      const unasked = new Map<string, number>()
      for (const [queue, most] of wanted) {
        if (room <= 0) unasked.set(queue, most)
        for (let each = 0; each < Math.min(share, most) && room > 0; each++, room--) {
          asked.push(this.#take(queue).then((left) => [queue, left]))
          this.#turn = (this.#queues.indexOf(queue) + 1) % this.#queues.length
        }
      }
      if (asked.length === 0) return
      wanted = unasked
      for (const answer of await Promise.allSettled(asked)) {
        if (answer.status === 'fulfilled') {
          const [queue, left] = answer.value
          if (left > 0) wanted.set(queue, left)
        } else if (this.#kept.length === 0) throw answer.reason
      }
    }
  }

  /** Resolves to how many more the queue has, as far as the server tells. */
  async #take(queue: string): Promise<number> {
    const sentAt = performance.now()
    const keep = (message: Msg): number => {
      const { delivery, job, left } = read(queue, message, sentAt + this.#ackWaitMs)
      this.#jobs.set(delivery, job)
      this.#kept.push(delivery)
      return left
    }
    const onLate = (message: Msg): void => {
      if (this.#closing !== undefined) return
      keep(message)
      this.#bell.ring()
    }
    const message = await next(this.#session, queue, onLate)
    return message === undefined ? 0 : keep(message)
  }

  async #renew(): Promise<void> {
    await Promise.allSettled(
      [...this.#jobs.values()].map(async (job) => {
        const sentAt = performance.now()
        if (sentAt >= job.deadline) return
        await this.#session.request(replyOf(job.message), '+WPI')
        job.deadline = sentAt + this.#ackWaitMs
      }),
    )
  }

  async #settle<Item extends { readonly delivery: Delivery }>(
    items: readonly Item[],
    first: (job: Job, item: Item) => Promise<void>,
  ): Promise<readonly SettleResult[]> {
    const settling = Promise.all(
      items.map(async (item): Promise<SettleResult> => {
        const job = this.#jobs.get(item.delivery)
        if (job?.state !== 'held') return { status: 'lease-lost' }
        if (performance.now() >= job.deadline || !this.#session.isOpen) {
          this.#jobs.delete(item.delivery)
          return { status: 'lease-lost' }
        }
        job.state = 'settling'
        try {
          await first(job, item)
          await this.#session.request(replyOf(job.message), '+ACK')
        } catch (error) {
          job.state = 'held'
          return { status: 'unknown', error }
        }
        this.#jobs.delete(item.delivery)
        this.#bell.ring()
        return { status: 'ok' }
      }),
    )
    this.#settling.add(settling)
    return settling.finally(() => this.#settling.delete(settling))
  }

  #assertUsable(): void {
    if (this.#closing !== undefined) throw closed()
    if (!this.#session.isOpen) throw connectionLost()
  }
}

/** One message of a queue, if there is one now; `onLate` gets one that comes later. What the server says of it is in the reply subject. */
export async function next(session: Session, queue: string, onLate: (message: Msg) => void): Promise<Msg | undefined> {
  const subject = `$JS.API.CONSUMER.MSG.NEXT.${JOBS}.${durableOf(queue)}`
  const message = await session.look(subject, `{"batch":1,"expires":${LOOK_NS}}`, (late) => {
    if (isJob(late)) onLate(late)
  })
  return message !== undefined && isJob(message) ? message : undefined
}

/** 404 and 408: nothing is there. Jobs have no status. */
function isJob({ headers }: Msg): boolean {
  return headers === undefined || headers.code === 0
}

export function replyOf(message: Msg): string {
  return message.reply ?? ''
}

interface Read {
  readonly delivery: Delivery
  readonly job: Job
  readonly left: number
}

function read(queue: string, message: Msg, deadline: number): Read {
  // $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<timestamp>.<pending>, and before the
  // stream a domain and an account where there are more (ADR-15 of NATS).
  const tokens = replyOf(message).split('.')
  const [delivered, sequence = 0, , timestamp = 0, left = 0] = tokens.slice(tokens.length > 9 ? 6 : 4).map(Number)
  const envelope = fromHeaders(message.headers, sequence)
  const deliveryCount = envelope.deliveries + (delivered ?? 1) - 1
  const delivery: Delivery = {
    id: envelope.id,
    queue,
    body: message.data.slice(),
    headers: envelope.headers,
    priority: envelope.priority,
    deliveryCount,
    storedAtMs: Math.floor(timestamp / 1e6),
  }
  const counted = { ...envelope, deliveries: deliveryCount }
  return { delivery, job: { queue, message, envelope: counted, sequence, state: 'held', deadline }, left }
}

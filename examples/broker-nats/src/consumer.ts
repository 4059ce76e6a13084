import type { Msg, Subscription } from '@nats-io/transport-node'
import {
  ConsumerBase,
  type ConsumeOptions,
  type Delivery,
  type Rejection,
  type Release,
  type Settlement,
  type SettleResult,
  type WorkerStats,
} from '@zyqueue/core/broker'
import { noDelays } from './errors.ts'
import { readJob, replyOf, type DeliveredJob } from './message.ts'
import { DEAD, deadSubject, JOBS, jobSubject, ROLL_CALL, wakeSubject } from './names.ts'
import type { Session } from './session.ts'

/** The most jobs of one queue that are asked for at once. Each is a request. */
const MAX_REQUESTS = 64

/** What a consumer answers to a roll call. */
export interface RollCallAnswer extends WorkerStats {
  /** Unsettled deliveries of each queue. */
  readonly activeOf: Readonly<Record<string, number>>
}

export class NatsConsumer extends ConsumerBase<DeliveredJob> {
  readonly #session: Session
  readonly #queues: readonly string[]
  readonly #ackWaitMs: number
  readonly #connectedAtMs = Date.now()
  readonly #subscriptions: readonly Subscription[]
  readonly #extending: NodeJS.Timeout
  /** Index of the queue that is asked first next time. */
  #turn = 0

  constructor(session: Session, options: ConsumeOptions, ackWaitMs: number, onClosed: () => void) {
    super(options, onClosed)
    this.#session = session
    this.#queues = [...new Set(options.queues.map(({ name }) => name))]
    this.#ackWaitMs = ackWaitMs
    const { connection } = session
    this.#subscriptions = [
      ...this.#queues.map((queue) => connection.subscribe(wakeSubject(queue), { callback: () => this.notify() })),
      connection.subscribe(ROLL_CALL, {
        callback: (_, message) => void message.respond(JSON.stringify(this.#answer())),
      }),
    ]
    this.#extending = setInterval(() => void this.#extendAll(), ackWaitMs / 4).unref()
  }

  override async release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    if (releases.some(({ delayMs }) => delayMs > 0)) throw noDelays()
    return super.release(releases)
  }

  /** Asks each queue for one job, then each for the number that it said it has, doubling the requests at once. */
  protected override async claim(max: number, isStopped: () => boolean): Promise<readonly Delivery[]> {
    const claimed: Delivery[] = []
    let wanted = new Map(
      [...this.#queues.slice(this.#turn), ...this.#queues.slice(0, this.#turn)].map((queue) => [queue, 1]),
    )
    for (
      let share = 1;
      wanted.size > 0 && claimed.length < max && !isStopped();
      share = Math.min(2 * share, MAX_REQUESTS)
    ) {
      let room = max - claimed.length
      const requests: Promise<DeliveredJob | undefined>[] = []
      const next = new Map<string, number>()
      for (const [queue, most] of wanted) {
        // There is no room to ask this queue now: it comes first in the next round.
        if (room === 0) next.set(queue, most)
        for (let each = Math.min(share, most, room); each > 0; each--, room--) {
          requests.push(this.#claimOne(queue))
          this.#turn = (this.#queues.indexOf(queue) + 1) % this.#queues.length
        }
      }
      const answers = await Promise.allSettled(requests)
      for (const answer of answers) {
        if (answer.status === 'rejected' || answer.value === undefined) continue
        const { delivery, pending } = answer.value
        claimed.push(delivery)
        if (pending > 0) next.set(delivery.queue, pending)
      }
      const failed = answers.find((answer) => answer.status === 'rejected')
      if (failed !== undefined && claimed.length === 0) throw failed.reason
      wanted = next
    }
    return claimed
  }

  protected override async sendAcks(
    settlements: readonly Settlement<Delivery, DeliveredJob>[],
  ): Promise<readonly SettleResult[]> {
    return this.#sendEach(settlements, async () => {})
  }

  protected override async sendReleases(
    settlements: readonly Settlement<Release, DeliveredJob>[],
  ): Promise<readonly SettleResult[]> {
    return this.#sendEach(settlements, (job, { headers }) => this.#republish(job, headers))
  }

  protected override async sendRejections(
    settlements: readonly Settlement<Rejection, DeliveredJob>[],
  ): Promise<readonly SettleResult[]> {
    return this.#sendEach(settlements, ({ delivery, message, envelope, sequence }, { reason, headers }) => {
      const stored = { ...envelope, reason, headers: headers ?? envelope.headers }
      return this.#session.store(deadSubject(delivery.queue), message.data, stored, `${DEAD} ${sequence}`)
    })
  }

  /** Stores the jobs again instead of sending a NAK: the server counts a delivery for each NAK. */
  protected override async end(): Promise<void> {
    clearInterval(this.#extending)
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
    await Promise.all([...this.unacked].map(([, job]) => this.#giveBack(job)))
  }

  async #claimOne(queue: string): Promise<DeliveredJob | undefined> {
    const sentAt = performance.now()
    const read = (message: Msg): DeliveredJob => readJob(queue, message, sentAt + this.#ackWaitMs)
    // If the answer comes too late, no call waits for the job. If giving it back fails, it returns after ackWait.
    const message = await this.#session.pull(queue, (late) => void this.#giveBack(read(late)).catch(() => {}))
    if (message === undefined) return undefined
    const job = read(message)
    this.unacked.add(job.delivery, job)
    return job
  }

  async #giveBack(job: DeliveredJob): Promise<void> {
    if (this.#isLost(job)) return
    await this.#republish(job)
    await this.#session.request(replyOf(job.message), '+ACK')
  }

  /** The server stores the copy of a message once, by the id `JOBS sequence`, also if this is repeated. */
  #republish({ delivery, message, envelope, sequence }: DeliveredJob, headers = envelope.headers): Promise<void> {
    return this.#session.store(
      jobSubject(delivery.queue),
      message.data,
      { ...envelope, headers },
      `${JOBS} ${sequence}`,
    )
  }

  /** Runs `store` for each job, then acks its message. */
  #sendEach<Item>(
    settlements: readonly Settlement<Item, DeliveredJob>[],
    store: (job: DeliveredJob, item: Item) => Promise<void>,
  ): Promise<readonly SettleResult[]> {
    return Promise.all(
      settlements.map(async ({ item, held: job }): Promise<SettleResult> => {
        if (this.#isLost(job)) return { status: 'lease-lost' }
        try {
          await store(job, item)
          await this.#session.request(replyOf(job.message), '+ACK')
          return { status: 'ok' }
        } catch (error) {
          return { status: 'unknown', error }
        }
      }),
    )
  }

  /** JetStream accepts an ack from any client, so the deadline is checked here. */
  #isLost({ deadline }: DeliveredJob): boolean {
    return performance.now() >= deadline || !this.#session.isOpen
  }

  async #extendAll(): Promise<void> {
    await Promise.allSettled(
      [...this.unacked].map(async ([, job]) => {
        if (this.#isLost(job)) return
        const sentAt = performance.now()
        await this.#session.request(replyOf(job.message), '+WPI')
        job.deadline = sentAt + this.#ackWaitMs
      }),
    )
  }

  #answer(): RollCallAnswer {
    const { consumerId: id, client } = this.options
    const activeOf = Object.fromEntries(this.#queues.map((queue) => [queue, 0]))
    for (const [{ queue }] of this.unacked) activeOf[queue] = (activeOf[queue] ?? 0) + 1
    const active = this.unacked.size
    return { id, client, queues: this.#queues, active, connectedAtMs: this.#connectedAtMs, activeOf }
  }
}

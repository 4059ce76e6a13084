import type {
  Answer,
  ClientInfo,
  Consumer,
  ConsumeOptions,
  Delivery,
  Headers,
  JobUpdate,
  LostDelivery,
  Rejection,
  Release,
  SettleResult,
} from '../contract/index.ts'
import { BrokerError } from '../errors.ts'
import { copyOfHeaders, type MemoryJob, type MemoryQueue, type QueueListener } from './memory-queue.ts'
import type { MemoryStore } from './memory-store.ts'

/** How long `receive` waits for a first job. */
const receiveWaitMs = 1000

/** An unsettled job of a consumer. */
export class MemoryDelivery implements Delivery {
  readonly consumer: MemoryConsumer
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly priority: number
  readonly deliveryCount: number
  readonly storedAtMs: number
  readonly foreground: boolean

  constructor(consumer: MemoryConsumer, job: MemoryJob, foreground: boolean) {
    this.consumer = consumer
    this.id = job.id
    this.queue = job.queue.name
    this.body = job.body.slice()
    this.headers = job.headers
    this.priority = job.priority
    this.deliveryCount = job.deliveryCount
    this.storedAtMs = job.storedAtMs
    this.foreground = foreground
  }
}

/** A consumer with a lease. The store and the queues list it while the lease holds. */
export class MemoryConsumer implements Consumer, QueueListener {
  readonly id: string
  readonly client: ClientInfo
  readonly queues: readonly MemoryQueue[]
  readonly connectedAtMs: number
  /** The broker that created it and closes it. */
  readonly owner: object
  readonly #store: MemoryStore
  readonly #prefetch: number
  readonly #inHand = new Map<Delivery, MemoryJob>()
  #mode: 'open' | 'lease-lost' | 'closed' = 'open'
  #waiting: { readonly max: number; settle(deliveries: readonly Delivery[] | BrokerError): void } | undefined
  #cancelLease: () => void
  /** The queue from which the next `receive` takes first, so that a long queue does not starve the others. */
  #turn = 0

  constructor(store: MemoryStore, options: ConsumeOptions, owner: object) {
    this.#store = store
    this.owner = owner
    this.id = options.consumerId
    this.client = options.client
    this.queues = [...new Set(options.queues.map((queue) => store.queue(queue.name)))]
    this.#prefetch = options.prefetch
    this.connectedAtMs = store.clock.now()
    store.addConsumer(this)
    for (const queue of this.queues) queue.addListener(this)
    this.#cancelLease = this.#startLease(options.leaseMs)
  }

  get active(): number {
    return this.#inHand.size
  }

  /** The number of its unsettled jobs of a queue. */
  jobsOf(queue: MemoryQueue): readonly MemoryJob[] {
    return [...this.#inHand.values()].filter((job) => job.queue === queue)
  }

  async receive(max: number, { signal }: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    this.#assertLeased()
    if (this.#waiting !== undefined) throw new BrokerError('ZYQ_BROKER', 'Another receive of this consumer is pending.')
    if (signal.aborted) return []
    const deliveries = this.#claim(max)
    return deliveries.length > 0 ? deliveries : this.#wait(max, signal)
  }

  async ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    return this.answer(deliveries.map((delivery) => ({ delivery, body: new Uint8Array() })))
  }

  async answer(answers: readonly Answer[]): Promise<readonly SettleResult[]> {
    return this.#settle(answers, ({ delivery, body }) => ({
      delivery,
      act: (job) => {
        job.queue.forget()
        this.#store.callOf(job.id)?.end({ status: 'done', body: new Uint8Array(body) })
      },
    }))
  }

  sendUpdate(delivery: Delivery, update: JobUpdate): void {
    const job = this.#inHand.get(delivery)
    if (job !== undefined) this.#store.callOf(job.id)?.onUpdate(update)
  }

  async release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    return this.#settle(releases, ({ delivery, delayMs, headers }) => ({
      delivery,
      act: (job) => {
        if (headers !== undefined) job.headers = copyOfHeaders(headers)
        job.queue.giveBack(job, delayMs)
      },
    }))
  }

  async reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]> {
    return this.#settle(rejections, ({ delivery, reason, headers }) => ({
      delivery,
      act: (job) => {
        const call = this.#store.callOf(job.id)
        if (headers !== undefined) job.headers = copyOfHeaders(headers)
        if (call === undefined) return job.queue.bury(job, reason)
        job.queue.forget()
        call.end({ status: 'failed', reason })
      },
    }))
  }

  async close(): Promise<void> {
    if (this.#mode === 'closed') return
    this.#endLease('closed', () => undefined)
    this.#waiting?.settle([])
  }

  wake(): boolean {
    const waiting = this.#waiting
    if (waiting === undefined) return false
    const deliveries = this.#claim(waiting.max)
    if (deliveries.length === 0) return false
    waiting.settle(deliveries)
    return true
  }

  renew(leaseMs: number): void {
    this.#cancelLease()
    this.#cancelLease = this.#startLease(leaseMs)
  }

  /** Returns all jobs to their queues. The lost jobs, or all of them, count one more delivery. */
  loseLease(lost: readonly LostDelivery[] | 'every'): void {
    const losses = lost === 'every' ? undefined : new Map(lost.map((loss) => [loss.id, loss]))
    this.#endLease('lease-lost', (job) => {
      const loss = losses === undefined ? job : losses.get(job.id)
      if (loss === undefined) return
      job.deliveryCount += 1
      if (loss.headers !== undefined) job.headers = copyOfHeaders(job.headers, loss.headers)
    })
    this.#waiting?.settle(this.#leaseLost())
  }

  #startLease(leaseMs: number): () => void {
    return this.#store.clock.setTimer(() => this.loseLease('every'), leaseMs)
  }

  #endLease(mode: 'lease-lost' | 'closed', count: (job: MemoryJob) => void): void {
    this.#mode = mode
    this.#cancelLease()
    this.#store.removeConsumer(this)
    for (const queue of this.queues) queue.removeListener(this)
    const jobs = [...this.#inHand.values()]
    this.#inHand.clear()
    for (const job of jobs) {
      count(job)
      job.queue.giveBack(job, 0)
    }
    for (const queue of this.queues) queue.wake()
  }

  #wait(max: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: readonly Delivery[] | BrokerError): void => {
        this.#waiting = undefined
        cancelTimer()
        signal.removeEventListener('abort', onNothing)
        if (outcome instanceof BrokerError) reject(outcome)
        else resolve(outcome)
      }
      const onNothing = (): void => settle([])
      const cancelTimer = this.#store.clock.setTimer(onNothing, receiveWaitMs)
      signal.addEventListener('abort', onNothing)
      this.#waiting = { max, settle }
    })
  }

  /** Takes one job of each queue in turn, up to the budget. */
  #claim(max: number): readonly Delivery[] {
    const budget = Math.min(max, this.#prefetch - this.#inHand.size)
    const deliveries: Delivery[] = []
    let queues = [...this.queues.slice(this.#turn), ...this.queues.slice(0, this.#turn)]
    while (deliveries.length < budget) {
      queues = queues.filter((queue) => queue.hasReady())
      if (queues.length === 0) break
      for (const queue of queues.slice(0, budget - deliveries.length)) {
        const job = queue.take()
        if (job === undefined) continue
        deliveries.push(this.#hand(job))
        this.#turn = (this.queues.indexOf(queue) + 1) % this.queues.length
      }
    }
    return deliveries
  }

  #hand(job: MemoryJob): Delivery {
    const delivery = new MemoryDelivery(this, job, this.#store.callOf(job.id) !== undefined)
    this.#inHand.set(delivery, job)
    return delivery
  }

  #settle<Item>(
    items: readonly Item[],
    plan: (item: Item) => { readonly delivery: Delivery; readonly act: (job: MemoryJob) => void },
  ): readonly SettleResult[] {
    if (this.#mode === 'closed') throw closed()
    const queues = new Set<MemoryQueue>()
    const results = items.map((item): SettleResult => {
      const { delivery, act } = plan(item)
      const job = this.#inHand.get(delivery)
      if (job === undefined) return { status: 'lease-lost' }
      this.#inHand.delete(delivery)
      act(job)
      queues.add(job.queue)
      return { status: 'ok' }
    })
    for (const queue of queues) queue.wake()
    this.wake()
    return results
  }

  #assertLeased(): void {
    if (this.#mode === 'closed') throw closed()
    if (this.#mode === 'lease-lost') throw this.#leaseLost()
  }

  #leaseLost(): BrokerError {
    return new BrokerError('ZYQ_LEASE_LOST', `The lease of the consumer '${this.id}' has ended.`)
  }
}

function closed(): BrokerError {
  return new BrokerError('ZYQ_CLOSED', 'The consumer was closed.')
}

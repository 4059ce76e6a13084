import {
  Bell,
  BrokerError,
  type Answer,
  type ConsumeOptions,
  type Consumer,
  type Delivery,
  type News,
  type Rejection,
  type Release,
  type SettleResult,
} from '@zyqueue/core/broker'
import { LostDeliveries } from './lost-deliveries.ts'
import { updatePacket } from '../publish/calls.ts'
import { closed } from '../errors.ts'
import { foreignId } from './foreign-id.ts'
import { purposeOf, slotOf } from '../functions.ts'
import { HeldJob } from './held-job.ts'
import type { WorkerConnection } from './worker-connection.ts'
import type { Assignment } from '../connection/protocol.ts'
import { PACKET, PacketWriter } from '../connection/protocol.ts'
import { delayedAgain } from '../routes.ts'
import type { GearmanServer } from '../connection/gearman-server.ts'
import { acknowledge, reject, release, type Entry, type Settled } from './settle.ts'
import { ServerConnection } from './server-connection.ts'
import { decodeJob, isAskable } from '../message.ts'

/** How long `receive` waits for a first job, in ms. */
const WAIT_MS = 1_000
const UNTOLD: Settled = {
  result: { status: 'unknown', error: new BrokerError('ZYQ_BROKER', 'A settlement has no result') },
  isHeld: false,
}

/**
 * Takes jobs from every server that answers. Its lease is its connections: a server takes back what it had given to one
 * that has ended. A server that goes takes its own jobs with it; the others go on, and it is joined again when it is back.
 */
export class GearmanConsumer implements Consumer {
  readonly #options: ConsumeOptions
  readonly #stations: readonly ServerConnection[]
  readonly #onClosed: (consumer: GearmanConsumer) => void
  /** Jobs that have come and nobody has received. */
  #arrived: HeldJob[] = []
  /** Foreign jobs of this turn, of which the server must say whether a client waits for them. */
  readonly #asked = new Map<WorkerConnection, HeldJob[]>()
  /** How many foreign jobs have come and have not arrived. */
  #asking = 0
  /** Jobs that were received, or will be, and are not settled. */
  readonly #inHand = new Set<Delivery>()
  /** Jobs whose settlement is under way, which still fill the prefetch. */
  #settling = 0
  readonly #settlements = new Set<Promise<unknown>>()
  readonly #charges = new LostDeliveries()
  readonly #bell = new Bell()
  #turn = 0
  #closing: Promise<void> | undefined

  /** Resolves when it has one server at least. Rejects with `ZYQ_UNREACHABLE` where none answers. */
  static async open(
    servers: readonly GearmanServer[],
    options: ConsumeOptions,
    onClosed: (consumer: GearmanConsumer) => void,
  ): Promise<GearmanConsumer> {
    const consumer = new GearmanConsumer(servers, options, onClosed)
    try {
      await Promise.any(consumer.#stations.map((station) => station.start()))
      return consumer
    } catch (error) {
      await consumer.close()
      throw error instanceof AggregateError ? error.errors[0] : error
    }
  }

  private constructor(
    servers: readonly GearmanServer[],
    options: ConsumeOptions,
    onClosed: (consumer: GearmanConsumer) => void,
  ) {
    this.#options = options
    this.#onClosed = onClosed
    this.#stations = servers.map(
      (server) =>
        new ServerConnection(server, options, {
          onJob: (link, assignment) => this.#take(link, assignment),
          onReady: () => this.#bell.ring(),
          onCharges: (count) => this.#charges.refresh(server, count),
          onLost: (link) => this.#forget(link),
        }),
    )
  }

  async receive(max: number, { signal }: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    const onAbort = (): void => this.#bell.ring()
    signal.addEventListener('abort', onAbort)
    try {
      return await this.#receive(max, signal)
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    return this.#settle(
      deliveries.map((delivery) => ({ delivery })),
      ({ delivery }) => delivery,
      acknowledge,
    )
  }

  answer(answers: readonly Answer[]): Promise<readonly SettleResult[]> {
    return this.#settle(answers, ({ delivery }) => delivery, acknowledge)
  }

  tell(delivery: Delivery, news: News): void {
    if (delivery instanceof HeldJob && this.#inHand.has(delivery)) {
      delivery.link.tell(updatePacket(delivery.handle, news))
    }
  }

  release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    return this.#settle(releases, ({ delivery }) => delivery, release)
  }

  reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]> {
    return this.#settle(rejections, ({ delivery }) => delivery, reject)
  }

  /** A job of this queue was delayed on this server. */
  hint(server: GearmanServer, queue: string, atMs: number): void {
    this.#stations.find((station) => station.server === server)?.hint(queue, atMs)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#bell.ring()
    // What is half done would otherwise be there twice.
    await Promise.allSettled(this.#settlements)
    this.#inHand.clear()
    this.#arrived = []
    await Promise.all([this.#charges.idle(), ...this.#stations.map((station) => station.close())])
    this.#onClosed(this)
  }

  async #receive(max: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    const until = performance.now() + WAIT_MS
    for (;;) {
      if (this.#closing !== undefined) throw closed()
      const inFlight = this.#inFlight
      // What was asked for on behalf of a call that was aborted is on its way: whoever aborted gives it back.
      const mayEnd = !signal.aborted || inFlight === 0
      if (this.#arrived.length > 0 && mayEnd) return this.#arrived.splice(0, max)
      const left = until - performance.now()
      if ((signal.aborted || left <= 0) && inFlight === 0) return []
      if (!signal.aborted) this.#ask(max)
      this.#assertLinked()
      await this.#bell.wait(left > 0 ? left : WAIT_MS)
    }
  }

  get #inFlight(): number {
    let inFlight = this.#asking
    for (const { link } of this.#stations) inFlight += link?.inFlight ?? 0
    return inFlight
  }

  #assertLinked(): void {
    if (this.#stations.some(({ link }) => link !== undefined)) return
    const [first] = this.#stations
    throw first?.lost ?? new BrokerError('ZYQ_CONNECTION_LOST', 'No Gearman server is connected')
  }

  /** Asks the servers in turn for as many jobs as there is room for. */
  #ask(max: number): void {
    let room = Math.min(max, this.#options.prefetch - this.#inHand.size - this.#settling) - this.#inFlight
    const links = this.#stations.flatMap(({ link }) => link ?? [])
    this.#turn++
    for (const [index] of links.entries()) {
      if (room <= 0) return
      const link = links[(index + this.#turn) % links.length]
      const share = Math.ceil(room / (links.length - index))
      room -= link?.grab(share) ?? 0
    }
  }

  #take(link: WorkerConnection, assignment: Assignment): void {
    const purpose = purposeOf(assignment.functionName)
    const queue = 'queue' in purpose ? purpose.queue : assignment.functionName
    const received = decodeJob(assignment.unique, assignment.workload)
    const id = received.id || foreignId(link.where, assignment)
    const job = new HeldJob(link, queue, assignment, { ...received, id }, this.#charges.of(id))
    this.#inHand.add(job)
    if (job.dueMs !== undefined && job.dueMs > Date.now()) void this.#delayOn(job, job.dueMs)
    else if (job.isForeign && isAskable(job.unique)) this.#askWhetherAwaited(job)
    else this.#arrived.push(job)
  }

  /** A foreign job arrives when it is known whether a client waits for it. The server is asked for all of one turn together. */
  #askWhetherAwaited(job: HeldJob): void {
    const { link } = job
    this.#asking++
    const gathered = this.#asked.get(link)
    if (gathered !== undefined) return void gathered.push(job)
    const jobs = [job]
    this.#asked.set(link, jobs)
    queueMicrotask(() => {
      this.#asked.delete(link)
      void this.#arriveKnown(link, jobs)
    })
  }

  async #arriveKnown(link: WorkerConnection, jobs: readonly HeldJob[]): Promise<void> {
    // If the connection is lost, its jobs are, too.
    const awaited = await link.areAwaited(jobs.map(({ unique }) => unique)).catch(() => undefined)
    this.#asking -= jobs.length
    for (const [index, job] of jobs.entries()) {
      job.foreground ||= awaited?.[index] === true
      if (this.#inHand.has(job)) this.#arrived.push(job)
    }
    this.#bell.ring()
  }

  /** A job from a wide slot goes on to a narrower one. Where that fails it stays here, until the connection ends. */
  async #delayOn(job: HeldJob, dueMs: number): Promise<void> {
    const { link } = job
    const atMs = slotOf(dueMs, Date.now())
    const moving = link.submit([delayedAgain(job.stored({ dueMs }), job.queue, atMs)])
    this.#track(moving)
    const [result] = await moving.catch(() => [])
    if (result?.status !== 'stored') return
    link.tell(new PacketWriter().packet(PACKET.WORK_COMPLETE, `${job.handle}\0`))
    link.letGo(job.functionName)
    this.#inHand.delete(job)
    this.#stationOf(link)?.hint(job.queue, atMs)
    this.#bell.ring()
  }

  /**
   * Settles what is in hand, on the connections that hold it, all at once. What is not in hand was settled before, or its
   * connection is gone and the server has taken it back.
   */
  async #settle<Item>(
    items: readonly Item[],
    deliveryOf: (item: Item) => Delivery,
    act: (link: WorkerConnection, entries: readonly Entry<Item>[]) => Promise<readonly Settled[]>,
  ): Promise<readonly SettleResult[]> {
    if (this.#closing !== undefined) throw closed()
    const results = items.map((): SettleResult => ({ status: 'lease-lost' }))
    const groups = new Map<WorkerConnection, (Entry<Item> & { readonly index: number })[]>()
    let count = 0
    for (const [index, item] of items.entries()) {
      const job = deliveryOf(item)
      if (!(job instanceof HeldJob) || !this.#inHand.delete(job)) continue
      count++
      const group = groups.get(job.link)
      if (group === undefined) groups.set(job.link, [{ index, item, job }])
      else group.push({ index, item, job })
    }
    this.#settling += count
    const settleGroup = async (
      link: WorkerConnection,
      group: readonly (Entry<Item> & { readonly index: number })[],
    ) => {
      const settled = await act(link, group)
      const done: string[] = []
      for (const [place, { index, job }] of group.entries()) {
        const { result, isHeld, atMs } = settled[place] ?? UNTOLD
        results[index] = result
        if (atMs !== undefined) this.#stationOf(link)?.hint(job.queue, atMs)
        if (result.status === 'ok' && !isHeld) done.push(job.id)
        if (!isHeld) link.letGo(job.functionName)
        else if (result.status !== 'ok' && !link.ended) this.#inHand.add(job)
      }
      this.#charges.settle(done)
    }
    const settling = Promise.all([...groups].map(([link, group]) => settleGroup(link, group)))
    this.#track(settling)
    try {
      await settling
    } finally {
      this.#settling -= count
      this.#bell.ring()
    }
    return results
  }

  #track(work: Promise<unknown>): void {
    this.#settlements.add(work)
    const forget = (): boolean => this.#settlements.delete(work)
    work.then(forget, forget)
  }

  #stationOf(link: WorkerConnection): ServerConnection | undefined {
    return this.#stations.find((station) => station.link === link)
  }

  #forget(link: WorkerConnection): void {
    for (const delivery of this.#inHand) {
      if (delivery instanceof HeldJob && delivery.link === link) this.#inHand.delete(delivery)
    }
    this.#arrived = this.#arrived.filter((job) => job.link !== link)
    this.#bell.ring()
  }
}

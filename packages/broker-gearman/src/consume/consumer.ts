import { setTimeout as sleep } from 'node:timers/promises'
import {
  BrokerError,
  ConsumerBase,
  Notifier,
  type Answer,
  type ConsumeOptions,
  type Delivery,
  type JobUpdate,
  type Rejection,
  type Release,
  type Settled as SettleResults,
  type Settlement,
  type SettleResult,
} from '@zyqueue/core/broker'
import { PACKET, PacketWriter, type Assignment } from '../connection/protocol.ts'
import type { GearmanServer } from '../gearman-server.ts'
import { isAskable, isOurs, type GearmanJob } from '../message.ts'
import { submit } from '../publish/publish.ts'
import { encodeCopy, holdJob, type HeldJob } from './held-job.ts'
import { LostDeliveries } from './lost-deliveries.ts'
import { ServerConnection } from './server-connection.ts'
import { complete, replace, type Completion, type Failure, type Settled } from './settle.ts'
import type { WorkerConnection } from './worker-connection.ts'

/** How long a claim waits before it looks at its servers again. */
const LOOK_MS = 1_000
/** The pause before the server is asked again to store a delayed job. */
const DELAY_RETRY_MS = 1_000

/**
 * Takes jobs from every server that answers. A job is held by one connection: when that ends, the server takes the job back. If
 * a server is lost, the consumer goes on with the others and connects to it again.
 */
export class GearmanConsumer extends ConsumerBase<HeldJob> {
  readonly #servers: readonly ServerConnection[]
  /** Jobs that have arrived and were not claimed. */
  #arrived: HeldJob[] = []
  /** Jobs that were asked for and have not arrived. */
  #inFlight = 0
  readonly #arrivals = new Notifier()
  readonly #delaying = new Set<Promise<void>>()
  readonly #ending = new AbortController()
  readonly #lostDeliveries = new LostDeliveries()
  #turn = 0

  /** Resolves when one server is connected. Rejects with `ZYQ_UNREACHABLE` if none answers. */
  static async open(
    servers: readonly GearmanServer[],
    options: ConsumeOptions,
    onClosed: () => void,
  ): Promise<GearmanConsumer> {
    const consumer = new GearmanConsumer(servers, options, onClosed)
    try {
      await Promise.any(consumer.#servers.map((server) => server.start()))
      return consumer
    } catch (error) {
      await consumer.close()
      throw error instanceof AggregateError ? error.errors[0] : error
    }
  }

  private constructor(servers: readonly GearmanServer[], options: ConsumeOptions, onClosed: () => void) {
    super(options, onClosed)
    this.#servers = servers.map(
      (server) =>
        new ServerConnection(server, options, {
          onReady: () => this.#wakeUp(),
          onLostDeliveries: (count) => this.#lostDeliveries.refresh(server, count),
          onLost: (worker) => this.#forget(worker),
        }),
    )
  }

  holds(delivery: Delivery): boolean {
    return this.unacked.get(delivery) !== undefined
  }

  answer(answers: readonly Answer[]): Promise<readonly SettleResult[]> {
    return this.settle(
      answers,
      ({ delivery }) => delivery,
      (settlements) => this.#complete(settlements.map(({ item, held }) => ({ held, body: item.body }))),
    )
  }

  sendUpdate(delivery: Delivery, update: JobUpdate): void {
    const held = this.unacked.get(delivery)
    held?.worker.sendUpdate(held.handle, update)
  }

  /** Waits for the first jobs to arrive, or for all if the call was stopped: the base then gives them back. */
  protected override async claim(room: number, isStopped: () => boolean): Promise<readonly Delivery[]> {
    for (;;) {
      if (!isStopped()) this.#ask(room)
      if (this.#inFlight === 0 || this.isClosing || (this.#arrived.length > 0 && !isStopped())) break
      await this.#arrivals.wait(LOOK_MS)
    }
    const claimed = this.#arrived.splice(0, isStopped() ? Infinity : room)
    for (const held of claimed) this.unacked.add(held.delivery, held)
    return claimed.map(({ delivery }) => delivery)
  }

  protected override sendAcks(settlements: readonly Settlement<Delivery, HeldJob>[]): Promise<SettleResults> {
    return this.#complete(settlements)
  }

  protected override sendReleases(settlements: readonly Settlement<Release, HeldJob>[]): Promise<SettleResults> {
    return this.#replace(
      settlements.map(({ item: { delayMs, headers }, held }) => ({
        held,
        copy: copyOf(held, {
          ...(headers === undefined ? {} : { headers }),
          ...(delayMs > 0 ? { dueMs: Math.ceil(Date.now() + delayMs) } : {}),
        }),
        isFinal: delayMs > 0 || headers !== undefined,
      })),
    )
  }

  protected override sendRejections(settlements: readonly Settlement<Rejection, HeldJob>[]): Promise<SettleResults> {
    const nowMs = performance.timeOrigin + performance.now()
    return this.#replace(
      settlements.map(({ item: { reason, headers }, held }, index) => ({
        held,
        // The fraction keeps the order of the call.
        copy: copyOf(held, {
          ...(headers === undefined ? {} : { headers }),
          death: { reason, atMs: nowMs + index / 1_000 },
        }),
        isFinal: true,
        reason,
      })),
    )
  }

  protected override settlementKey({ worker }: HeldJob): WorkerConnection {
    return worker
  }

  protected override async end(): Promise<void> {
    this.#ending.abort()
    // A job whose copy is stored must be deleted before the server takes it back.
    await Promise.all(this.#delaying)
    this.#arrived = []
    await Promise.all([this.#lostDeliveries.flush(), ...this.#servers.map((server) => server.close())])
  }

  /** Asks the servers in turn for as many jobs as there is room for. Throws if no server is connected. */
  #ask(room: number): void {
    const workers = this.#servers.flatMap(({ worker }) => worker ?? [])
    if (workers.length === 0) {
      throw this.#servers[0]?.lost ?? new BrokerError('ZYQ_CONNECTION_LOST', 'No Gearman server is connected')
    }
    let left = room - this.#arrived.length - this.#inFlight - this.#delaying.size
    this.#turn++
    for (const index of workers.keys()) {
      const worker = workers[(index + this.#turn) % workers.length]
      if (worker === undefined || left <= 0) return
      const share = Math.ceil(left / (workers.length - index))
      const asked = worker.grab(share, (jobs) => void this.#receive(worker, jobs, asked))
      this.#inFlight += asked
      left -= asked
    }
  }

  /** Jobs arrive when it is known whether a client waits for them. Never rejects. */
  async #receive(worker: WorkerConnection, jobs: readonly Assignment[], asked: number): Promise<void> {
    const foreign = jobs.map(({ unique }) => unique).filter((unique) => !isOurs(unique) && isAskable(unique))
    // If this fails, the connection is lost, and its jobs with it.
    const awaited = foreign.length === 0 ? new Set() : await worker.awaitedOf(foreign).catch(() => new Set())
    this.#inFlight -= asked
    // When the consumer closes, the server takes back the jobs: a copy of one would run beside it.
    if (worker.connection.isOpen && !this.isClosing) {
      for (const job of jobs) {
        const held = holdJob(worker, job, this.#lostDeliveries, awaited.has(job.unique))
        if (held.dueMs === undefined || held.dueMs <= Date.now()) {
          this.#arrived.push(held)
          continue
        }
        const delaying = this.#delayAgain(held, held.dueMs).finally(() => this.#delaying.delete(delaying))
        this.#delaying.add(delaying)
      }
    }
    this.#wakeUp()
  }

  /** Moves a job from a wide slot to a narrower one. While the server refuses the copy, the job stays here until it is due. */
  async #delayAgain(held: HeldJob, dueMs: number): Promise<void> {
    const { worker, handle, functionName } = held
    const submission = encodeCopy(held, { dueMs })
    while (worker.connection.isOpen && !this.isClosing) {
      const leftMs = dueMs - Date.now()
      if (leftMs <= 0) {
        this.#arrived.push(held)
        break
      }
      const [result] = await submit(worker.connection, [submission]).catch(() => [])
      if (result?.status === 'stored') {
        worker.connection.write(new PacketWriter().packet(PACKET.WORK_COMPLETE, `${handle}\0`))
        worker.forget(functionName)
        worker.server.expectDelayed(submission)
        break
      }
      const { signal } = this.#ending
      await sleep(Math.min(DELAY_RETRY_MS, leftMs), undefined, { ref: false, signal }).catch(() => {})
    }
    this.#wakeUp()
  }

  async #complete(completions: readonly Completion[]): Promise<SettleResults> {
    const [first] = completions
    return first === undefined ? [] : this.#resultsOf(completions, await complete(first.held.worker, completions))
  }

  async #replace(failures: readonly Failure[]): Promise<SettleResults> {
    const [first] = failures
    if (first === undefined) return []
    const settled = await replace(first.held.worker, failures)
    for (const [index, { held, copy }] of failures.entries()) {
      if (copy !== undefined && settled[index]?.isHeld === false) held.worker.server.expectDelayed(copy)
    }
    return this.#resultsOf(failures, settled)
  }

  #resultsOf(items: readonly { readonly held: HeldJob }[], settled: readonly Settled[]): readonly SettleResult[] {
    const settledIds: string[] = []
    for (const [index, { held }] of items.entries()) {
      const { result, isHeld = true } = settled[index] ?? {}
      if (isHeld) continue
      // Also if the result is unknown: the base keeps only what `unacked` has.
      this.unacked.delete(held.delivery)
      held.worker.forget(held.functionName)
      if (result?.status === 'ok') settledIds.push(held.delivery.id)
    }
    this.#lostDeliveries.settle(settledIds)
    return settled.map(({ result }) => result)
  }

  #forget(worker: WorkerConnection): void {
    for (const [delivery, held] of this.unacked) if (held.worker === worker) this.unacked.delete(delivery)
    this.#arrived = this.#arrived.filter((held) => held.worker !== worker)
    this.#wakeUp()
  }

  #wakeUp(): void {
    this.#arrivals.notify()
    this.notify()
  }
}

/** Absent if a client waits for the job: it gets the failure, and decides what happens. */
function copyOf(held: HeldJob, changes: Partial<GearmanJob>): Failure['copy'] {
  return held.delivery.foreground === true ? undefined : encodeCopy(held, changes)
}

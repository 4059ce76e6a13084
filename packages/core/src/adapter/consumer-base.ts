import type { ConsumeOptions } from '../contract/broker.ts'
import type { Consumer, Rejection, Release, SettleResult } from '../contract/consumer.ts'
import type { Delivery } from '../contract/message.ts'
import { BrokerError } from '../errors.ts'
import { Notifier } from './notifier.ts'
import { Unacked } from './unacked.ts'

/** How long `receive` waits for a first job. */
const RECEIVE_WAIT_MS = 1_000
const LEASE_LOST: SettleResult = Object.freeze({ status: 'lease-lost' })

/** What core passed, and what the adapter keeps for the delivery. */
export interface Settlement<Item, Held> {
  readonly item: Item
  readonly held: Held
}

/** One result for all, or one for each, in order. */
export type Settled = SettleResult | readonly SettleResult[]

/**
 * A consumer without its engine. It keeps to the prefetch, waits in `receive`, gives back jobs that were claimed for an aborted
 * call, and matches results with settlements. The adapter calls `notify` when there may be jobs.
 */
export abstract class ConsumerBase<Held> implements Consumer {
  protected readonly options: ConsumeOptions
  protected readonly unacked = new Unacked<Held>()
  readonly #onClosed: () => void
  readonly #notifier = new Notifier()
  readonly #settling = new Set<Promise<unknown>>()
  /** Settles when no claim is pending. Never rejects. */
  #claiming: Promise<void> = Promise.resolve()
  /** Claimed for an aborted call, and not given back yet. */
  #unwanted: readonly Delivery[] = []
  #stopReceiving: () => void = () => {}
  #closing: Promise<void> | undefined

  protected constructor(options: ConsumeOptions, onClosed: () => void) {
    this.options = options
    this.#onClosed = onClosed
  }

  /** Claims at most `room` jobs, adds each to `unacked`, and resolves to them. It may stop early when `isStopped()` is true. */
  protected abstract claim(room: number, isStopped: () => boolean): Promise<readonly Delivery[]>

  protected abstract sendAcks(settlements: readonly Settlement<Delivery, Held>[]): Promise<Settled>
  protected abstract sendReleases(settlements: readonly Settlement<Release, Held>[]): Promise<Settled>
  protected abstract sendRejections(settlements: readonly Settlement<Rejection, Held>[]): Promise<Settled>

  /** Gives back all of `unacked` and ends the lease. No claim and no settlement is pending. May reject. */
  protected abstract end(): Promise<void>

  /** How many ms `receive` waits for `notify` before it claims again. */
  protected get nextClaimMs(): number {
    return Infinity
  }

  /** Settlements with different keys are sent in separate, concurrent calls. */
  protected settlementKey(_held: Held): unknown {
    return undefined
  }

  /** Makes `receive` claim again. */
  protected notify(): void {
    this.#notifier.notify()
  }

  protected get isClosing(): boolean {
    return this.#closing !== undefined
  }

  receive(max: number, { signal }: { readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    if (this.isClosing) return Promise.reject(this.#closed())
    if (signal.aborted) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      let stopped = false
      const stop = (): void => {
        stopped = true
        resolve([])
        this.notify()
      }
      this.#stopReceiving = stop
      signal.addEventListener('abort', stop, { once: true })
      const taking = this.#claiming.then(() => this.#take(max, () => stopped, resolve))
      this.#claiming = taking.then(() => resolve([]), reject).finally(() => signal.removeEventListener('abort', stop))
    })
  }

  ack(deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    return this.settle(
      deliveries,
      (delivery) => delivery,
      (settlements) => this.sendAcks(settlements),
    )
  }

  release(releases: readonly Release[]): Promise<readonly SettleResult[]> {
    return this.settle(releases, deliveryOf, (settlements) => this.sendReleases(settlements))
  }

  reject(rejections: readonly Rejection[]): Promise<readonly SettleResult[]> {
    return this.settle(rejections, deliveryOf, (settlements) => this.sendRejections(settlements))
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Deliveries stay held if `send` rejects, or answers `unknown`. */
  protected async settle<Item>(
    items: readonly Item[],
    deliveryOfItem: (item: Item) => Delivery,
    send: (settlements: readonly Settlement<Item, Held>[]) => Promise<Settled>,
  ): Promise<readonly SettleResult[]> {
    if (this.isClosing) throw this.#closed()
    const results: SettleResult[] = items.map(() => LEASE_LOST)
    const groups = new Map<unknown, (Settlement<Item, Held> & { readonly index: number })[]>()
    for (const [index, item] of items.entries()) {
      const held = this.unacked.take(deliveryOfItem(item))
      if (held === undefined) continue
      const key = this.settlementKey(held)
      const group = groups.get(key)
      if (group === undefined) groups.set(key, [{ index, item, held }])
      else group.push({ index, item, held })
    }
    const settling = Promise.all(
      [...groups.values()].map(async (group) => {
        const settled = await settledBy(send, group)
        for (const [position, { index, item }] of group.entries()) {
          const result = resultAt(settled, position)
          results[index] = result
          if (result.status === 'unknown') this.unacked.putBack(deliveryOfItem(item))
          else this.unacked.delete(deliveryOfItem(item))
        }
      }),
    )
    await this.#track(settling)
    this.notify()
    return results
  }

  async #close(): Promise<void> {
    this.#stopReceiving()
    await this.#claiming
    await Promise.all(this.#settling)
    try {
      await this.end()
    } catch {
      // The engine gives the jobs back by itself when the lease or the connection ends.
    }
    this.unacked.clear()
    this.#onClosed()
  }

  /** Calls `deliver` synchronously after the check that the call is not aborted: an abort in between would lose the jobs. */
  async #take(
    max: number,
    isStopped: () => boolean,
    deliver: (deliveries: readonly Delivery[]) => void,
  ): Promise<void> {
    await this.#giveBack()
    const until = performance.now() + RECEIVE_WAIT_MS
    while (!isStopped()) {
      const room = Math.min(max, this.options.prefetch - this.unacked.size)
      if (room > 0) {
        const deliveries = await this.claim(room, isStopped)
        // Settlements that were answered before must resolve first.
        if (deliveries.length > 0 && this.#settling.size > 0) await new Promise<void>((ran) => process.nextTick(ran))
        if (deliveries.length > 0 && !isStopped()) return deliver(deliveries)
        this.#unwanted = deliveries
      }
      const left = until - performance.now()
      if (left <= 0 || isStopped()) break
      await this.#notifier.wait(Math.max(1, room > 0 ? Math.min(left, this.nextClaimMs) : left))
    }
    await this.#giveBack()
  }

  /** Releases unwanted jobs. If the outcome is unknown, the next `receive` tries again before it claims. */
  async #giveBack(): Promise<void> {
    if (this.#unwanted.length === 0 || this.isClosing) return
    const unwanted = this.#unwanted
    const results = await this.release(unwanted.map((delivery) => ({ delivery, delayMs: 0 })))
    const failed = results.find((result) => result.status === 'unknown')
    this.#unwanted = unwanted.filter((_, index) => results[index]?.status === 'unknown')
    if (failed !== undefined) throw failed.error
  }

  async #track(settling: Promise<unknown>): Promise<void> {
    this.#settling.add(settling)
    try {
      await settling
    } finally {
      this.#settling.delete(settling)
    }
  }

  #closed(): BrokerError {
    return new BrokerError('ZYQ_CLOSED', 'The consumer was closed')
  }
}

function deliveryOf({ delivery }: { readonly delivery: Delivery }): Delivery {
  return delivery
}

async function settledBy<Item, Held>(
  send: (settlements: readonly Settlement<Item, Held>[]) => Promise<Settled>,
  settlements: readonly Settlement<Item, Held>[],
): Promise<Settled> {
  try {
    return await send(settlements)
  } catch (error) {
    return { status: 'unknown', error }
  }
}

function resultAt(settled: Settled, position: number): SettleResult {
  if ('status' in settled) return settled
  return settled[position] ?? { status: 'unknown', error: new BrokerError('ZYQ_BROKER', 'A settlement has no result') }
}

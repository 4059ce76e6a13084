import { AsyncResource } from 'node:async_hooks'

/** Something to run: one job of one session. */
export interface Runnable {
  /** True if no other job may run at the same time. */
  readonly alone: boolean
}

/** Records jobs before they run. */
export interface RunLedger<Item> {
  begin(item: Item): void
  end(item: Item): void
  /** Writes the changes since the last call to the file that the supervisor reads. */
  flush(): void
}

export const HELD: unique symbol = Symbol('held')
/** The result of an item that was not started in the end: it does not count against `maxStarts`. */
export const DENIED: unique symbol = Symbol('denied')
export type Run = void | Promise<void | typeof DENIED> | typeof HELD

export interface SchedulerOptions<Item> {
  readonly concurrency: number
  /** The number of items to start in all. Default: unlimited. */
  readonly maxStarts?: number | undefined
  readonly ledger?: RunLedger<Item> | undefined
  /**
   * Runs an item, which has ended when the call returns or its promise resolves. Never throws or rejects. Returns `HELD` if the
   * item must not start yet: it waits for `resume`, and others may start meanwhile.
   */
  readonly run: (item: Item) => Run
  /** Called when an item has ended and no longer runs. */
  readonly onEnd: () => void
}

/**
 * Runs items in order, up to `concurrency` at a time. An item that must run alone waits until the running items have ended;
 * the items after it wait until it has ended.
 */
export class Scheduler<Item extends Runnable> {
  readonly #concurrency: number
  readonly #ledger: RunLedger<Item> | undefined
  readonly #runItem: (item: Item) => Run
  readonly #onEnd: () => void
  /**
   * The async context of the scheduler's creator. Without it, a job would start in the context of the job that ended
   * before.
   */
  readonly #context = new AsyncResource('ZyQueueScheduler')
  #startsLeft: number
  readonly #running = new Set<Item>()
  #waiting: Item[] = []
  #held: Item[] = []
  /** The jobs that were recorded last. `#startedCount` of them have started. */
  #starting: readonly Item[] = []
  #startedCount = 0
  #next = 0
  #scheduled = false

  constructor(options: SchedulerOptions<Item>) {
    this.#concurrency = options.concurrency
    this.#startsLeft = options.maxStarts ?? Number.POSITIVE_INFINITY
    this.#ledger = options.ledger
    this.#runItem = options.run
    this.#onEnd = options.onEnd
  }

  get running(): ReadonlySet<Item> {
    return this.#running
  }

  /** Jobs that are recorded and have not started: an earlier job runs synchronously. */
  get unstarted(): readonly Item[] {
    return this.#starting.slice(this.#startedCount)
  }

  /** The number of unstarted items, with held items. */
  get waiting(): number {
    return this.#ready + this.#held.length
  }

  get #ready(): number {
    return this.#waiting.length - this.#next
  }

  /** True if `maxStarts` items have started. */
  get exhausted(): boolean {
    return this.#startsLeft === 0
  }

  get hasFreeSlot(): boolean {
    return !this.exhausted && this.#running.size + this.#ready < this.#concurrency
  }

  add(items: readonly Item[]): void {
    this.#waiting = this.#ready === 0 ? [...items] : [...this.#waiting.slice(this.#next), ...items]
    this.#next = 0
    this.#schedule()
  }

  /** The number of unstarted items for which `isMeant` returns true. */
  count(isMeant: (item: Item) => boolean): number {
    return [...this.#held, ...this.#waiting.slice(this.#next)].filter(isMeant).length
  }

  /** Removes and returns the unstarted items for which `isMeant` returns true. */
  remove(isMeant: (item: Item) => boolean): readonly Item[] {
    const held = this.#held
    this.#held = held.filter((item) => !isMeant(item))
    const ready = this.#waiting.slice(this.#next)
    this.#waiting = ready.filter((item) => !isMeant(item))
    this.#next = 0
    return [...held, ...ready].filter(isMeant)
  }

  /** Starts the chosen held jobs as soon as possible, before all waiting jobs. */
  resume(isMeant: (item: Item) => boolean): void {
    if (this.#held.length === 0) return
    const resumed = this.#held.filter(isMeant)
    this.#held = this.#held.filter((item) => !isMeant(item))
    this.#waiting = [...resumed, ...this.#waiting.slice(this.#next)]
    this.#next = 0
    this.#schedule()
  }

  /** Jobs that end in the same turn are replaced together, so that the ledger is written once for all starts. */
  #schedule(): void {
    if (this.#scheduled || this.#ready === 0) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#context.runInAsyncScope(this.#start, this)
    })
  }

  #start(): void {
    const starting: Item[] = []
    for (;;) {
      const item = this.#waiting[this.#next]
      if (item === undefined || !this.#mayStart(item)) break
      this.#next++
      this.#startsLeft--
      this.#running.add(item)
      this.#ledger?.begin(item)
      starting.push(item)
    }
    if (starting.length === 0) return
    this.#ledger?.flush()
    this.#starting = starting
    this.#startedCount = 0
    for (const item of starting) {
      this.#startedCount++
      this.#run(item)
    }
    // An idle worker must not keep references to its last jobs.
    this.#starting = []
  }

  #mayStart(item: Item): boolean {
    if (this.exhausted) return false
    if (this.#running.size === 0) return true
    if (item.alone || this.#running.size >= this.#concurrency) return false
    for (const running of this.#running) {
      if (running.alone) return false
      break
    }
    return true
  }

  #run(item: Item): void {
    const running = this.#runItem(item)
    if (running === HELD) this.#hold(item)
    else if (running === undefined) this.#ended(item)
    else void this.#awaitEnd(item, running)
  }

  async #awaitEnd(item: Item, running: Promise<void | typeof DENIED>): Promise<void> {
    if ((await running) === DENIED) this.#startsLeft++
    this.#ended(item)
  }

  #ended(item: Item): void {
    this.#running.delete(item)
    this.#ledger?.end(item)
    this.#schedule()
    this.#onEnd()
  }

  #hold(item: Item): void {
    this.#running.delete(item)
    this.#ledger?.end(item)
    this.#startsLeft++
    this.#held.push(item)
    this.#schedule()
  }
}

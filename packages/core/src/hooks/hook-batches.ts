import { ConfigError } from '../errors.ts'
import type { BatchHooks } from './batch-hooks.ts'

const MAX_ITEMS = 1_000
const MAX_IN_FLIGHT = 4

interface Pending<Item, Result> {
  readonly item: Item
  readonly resolve: (result: Result) => void
}

/** The items that wait for one hooks object, and the number of its running calls. */
interface Line<Item, Result> {
  waiting: Pending<Item, Result>[]
  inFlight: number
  isScheduled: boolean
}

export interface HookBatchesOptions<Item, Result> {
  /** Calls the hook: one result for each item, in their order. */
  readonly call: (hooks: BatchHooks, items: readonly Item[]) => Promise<readonly Result[]>
  /** The result of an item if the call rejects, or returns no result for it. */
  readonly onFailure: (item: Item, error: unknown) => Result
  /** False if a result cannot be used: the item has failed then. */
  readonly isResult: (result: Result) => boolean
  /** The number of jobs in an item. Default: 1. */
  readonly sizeOf?: (item: Item) => number
}

/** Batches the items of one turn of the event loop and passes them to their hook. */
export class HookBatches<Item, Result> {
  readonly #options: HookBatchesOptions<Item, Result>
  readonly #lines = new Map<BatchHooks, Line<Item, Result>>()

  constructor(options: HookBatchesOptions<Item, Result>) {
    this.#options = options
  }

  /** Resolves to the item's result. Never rejects. */
  add(hooks: BatchHooks, item: Item): Promise<Result> {
    let line = this.#lines.get(hooks)
    if (line === undefined) this.#lines.set(hooks, (line = { waiting: [], inFlight: 0, isScheduled: false }))
    const { waiting } = line
    const result = new Promise<Result>((resolve) => waiting.push({ item, resolve }))
    this.#schedule(hooks, line)
    return result
  }

  #schedule(hooks: BatchHooks, line: Line<Item, Result>): void {
    if (line.isScheduled || line.inFlight >= MAX_IN_FLIGHT) return
    line.isScheduled = true
    setImmediate(() => {
      line.isScheduled = false
      while (line.waiting.length > 0 && line.inFlight < MAX_IN_FLIGHT) {
        line.inFlight++
        void this.#send(hooks, line, this.#take(line))
      }
    })
  }

  #take({ waiting }: Line<Item, Result>): readonly Pending<Item, Result>[] {
    const { sizeOf = () => 1 } = this.#options
    let size = 0
    const end = waiting.findIndex(({ item }, index) => (size += sizeOf(item)) > MAX_ITEMS && index > 0)
    return waiting.splice(0, end < 0 ? waiting.length : end)
  }

  async #send(hooks: BatchHooks, line: Line<Item, Result>, entries: readonly Pending<Item, Result>[]): Promise<void> {
    const { call, onFailure, isResult } = this.#options
    let results: readonly Result[] = []
    let failure: unknown
    try {
      results = await call(
        hooks,
        entries.map(({ item }) => item),
      )
    } catch (error) {
      failure = error
    }
    failure ??= new ConfigError('ZYQ_CONFIG', 'A batch hook must return one valid result for each job.')
    for (const [index, { item, resolve }] of entries.entries()) {
      const result = results[index]
      resolve(result !== undefined && isResult(result) ? result : onFailure(item, failure))
    }
    line.inFlight--
    if (line.waiting.length > 0) this.#schedule(hooks, line)
    else if (line.inFlight === 0) this.#lines.delete(hooks)
  }
}

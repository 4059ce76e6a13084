import { delayedFunction, purposeOf } from '../functions.ts'
import type { Address } from '../options.ts'
import { functionsOf, type FunctionStatus } from '../connection/status.ts'
import { TextConnection } from '../connection/text-connection.ts'

/** How often a server is asked what is there, in ms. */
const LOOK_MS = 1_000
/** How long a function of delayed jobs is left after its time, in ms: clocks differ, and nobody may submit to one that is dropped. */
const DROP_AFTER_MS = 60_000

export interface DelayPollerEvents {
  /** There are jobs in a function of delayed ones whose time has come. */
  readonly onDue: (functionName: string) => void
  /** There is nothing in a function of delayed ones that somebody serves. */
  readonly onEmpty: (functionName: string) => void
  /** How many charges there are on the server, whenever it was asked. */
  readonly onCharges: (count: number) => Promise<void>
}

/**
 * Knows when delayed jobs of some queues on one server are due: from what the server lists, about once a second, and from
 * hints. Drops functions that have had their time and are empty, so that they do not pile up.
 */
export class DelayPoller {
  readonly #address: Address
  readonly #queues: ReadonlySet<string>
  readonly #events: DelayPollerEvents
  readonly #end = new AbortController()
  readonly #poll: NodeJS.Timeout
  /** The functions whose time will come before the next look. */
  readonly #soon = new Map<string, NodeJS.Timeout>()
  #text: TextConnection | undefined
  #looking: Promise<void> | undefined

  constructor(address: Address, queues: readonly string[], events: DelayPollerEvents) {
    this.#address = address
    this.#queues = new Set(queues)
    this.#events = events
    this.#poll = setInterval(() => void this.look(), LOOK_MS).unref()
  }

  /** A job of this queue was delayed, to be looked at from then on. */
  hint(queue: string, atMs: number): void {
    if (this.#queues.has(queue)) this.#expect(delayedFunction(queue, atMs), atMs, Date.now())
  }

  /** Asks the server what is there. Never rejects: the next look may have more luck. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch(() => {})
      .finally(() => {
        this.#looking = undefined
      })
    return this.#looking
  }

  close(): void {
    clearInterval(this.#poll)
    this.#end.abort()
    for (const timer of this.#soon.values()) clearTimeout(timer)
    this.#soon.clear()
    this.#text?.close()
  }

  async #look(): Promise<void> {
    if (this.#text === undefined || this.#text.ended) {
      this.#text = await TextConnection.open(this.#address, this.#end.signal)
    }
    const text = this.#text
    const nowMs = Date.now()
    let charges = 0
    for (const status of await functionsOf(text)) {
      const purpose = purposeOf(status.name)
      if (purpose.kind === 'charges') charges = status.waiting + status.running
      if (purpose.kind !== 'delayed') continue
      if (status.waiting > 0 && this.#queues.has(purpose.queue)) this.#expect(status.name, purpose.atMs, nowMs)
      if (status.waiting + status.running === 0 && status.workers > 0) this.#events.onEmpty(status.name)
      if (isOver(status, purpose.atMs, nowMs)) {
        // Another worker may have dropped it.
        await text.command(`drop function ${status.name}`).catch(() => {})
      }
    }
    if (!this.#end.signal.aborted) await this.#events.onCharges(charges)
  }

  #expect(functionName: string, atMs: number, nowMs: number): void {
    const inMs = atMs - nowMs
    if (inMs > 2 * LOOK_MS || this.#soon.has(functionName) || this.#end.signal.aborted) return
    if (inMs <= 0) return this.#events.onDue(functionName)
    const onTimer = (): void => {
      this.#soon.delete(functionName)
      this.#events.onDue(functionName)
    }
    this.#soon.set(functionName, setTimeout(onTimer, inMs + 1).unref())
  }
}

/** gearmand drops a function with all that waits in it: only one that is empty, and that nobody submits to any more. */
function isOver({ waiting, running, workers }: FunctionStatus, atMs: number, nowMs: number): boolean {
  return waiting === 0 && running === 0 && workers === 0 && atMs < nowMs - DROP_AFTER_MS
}

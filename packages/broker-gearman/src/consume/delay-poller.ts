import { functionsOf, type FunctionStatus } from '../connection/status.ts'
import { TextConnection } from '../connection/text-connection.ts'
import { purposeOf, queueOf } from '../functions.ts'
import type { GearmanServer } from '../gearman-server.ts'

/** How often a server is asked for its functions. */
const POLL_MS = 1_000
/** How long an empty function of delayed jobs stays after its time. Clocks differ, and no client may submit to a dropped function. */
const DROP_AFTER_MS = 60_000

export interface DelayPollerEvents {
  /** A function holds delayed jobs whose time has come. */
  readonly onDue: (functionName: string) => void
  /** A function of delayed jobs that workers serve is empty. */
  readonly onEmpty: (functionName: string) => void
  /** The number of notes about lost deliveries on the server, at each poll. */
  readonly onLostDeliveries: (count: number) => Promise<void>
}

/**
 * Finds out when the delayed jobs of some queues on one server are due: it polls the server about once a second, and the
 * server object reports the jobs that this process delays. Drops empty functions whose time is over, so that they do not pile up.
 */
export class DelayPoller {
  readonly #server: GearmanServer
  readonly #queues: ReadonlySet<string>
  readonly #events: DelayPollerEvents
  readonly #end = new AbortController()
  readonly #timer: NodeJS.Timeout
  /** Timers of the functions whose time comes before the next poll. */
  readonly #soon = new Map<string, NodeJS.Timeout>()
  readonly #onDelayed = (functionName: string, atMs: number): void => this.#expect(functionName, atMs, Date.now())
  #text: TextConnection | undefined
  #polling: Promise<void> | undefined

  constructor(server: GearmanServer, queues: readonly string[], events: DelayPollerEvents) {
    this.#server = server
    this.#queues = new Set(queues)
    this.#events = events
    this.#timer = setInterval(() => void this.poll(), POLL_MS).unref()
    server.delayListeners.add(this.#onDelayed)
  }

  /** Never rejects: if it fails, the next poll tries again. */
  poll(): Promise<void> {
    this.#polling ??= this.#poll()
      .catch(() => {})
      .finally(() => (this.#polling = undefined))
    return this.#polling
  }

  close(): void {
    clearInterval(this.#timer)
    this.#server.delayListeners.delete(this.#onDelayed)
    this.#end.abort()
    for (const timer of this.#soon.values()) clearTimeout(timer)
    this.#soon.clear()
  }

  async #poll(): Promise<void> {
    const text =
      this.#text?.isOpen === true ? this.#text : await TextConnection.open(this.#server.address, this.#end.signal)
    this.#text = text
    const nowMs = Date.now()
    let lost = 0
    for (const status of await functionsOf(text)) {
      const purpose = purposeOf(status.name)
      if (purpose.kind === 'lost') lost = status.waiting + status.running
      if (purpose.kind !== 'delayed') continue
      if (status.waiting > 0) this.#expect(status.name, purpose.atMs, nowMs)
      if (status.waiting + status.running === 0 && status.workers > 0) this.#events.onEmpty(status.name)
      if (isOver(status, purpose.atMs, nowMs)) {
        // Another worker may have dropped it already.
        await text.command(`drop function ${status.name}`).catch(() => {})
      }
    }
    if (!this.#end.signal.aborted) await this.#events.onLostDeliveries(lost)
  }

  #expect(functionName: string, atMs: number, nowMs: number): void {
    const inMs = atMs - nowMs
    if (inMs > 2 * POLL_MS || this.#soon.has(functionName) || this.#end.signal.aborted) return
    if (!this.#queues.has(queueOf(functionName))) return
    if (inMs <= 0) return this.#events.onDue(functionName)
    const onTimer = (): void => {
      this.#soon.delete(functionName)
      this.#events.onDue(functionName)
    }
    this.#soon.set(functionName, setTimeout(onTimer, inMs + 1).unref())
  }
}

/** gearmand drops a function together with the jobs in it, so it must be empty, and its time must be long over. */
function isOver({ waiting, running, workers }: FunctionStatus, atMs: number, nowMs: number): boolean {
  return waiting === 0 && running === 0 && workers === 0 && atMs < nowMs - DROP_AFTER_MS
}

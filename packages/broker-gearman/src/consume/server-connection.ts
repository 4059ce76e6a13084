import type { BrokerError, ConsumeOptions } from '@zyqueue/core/broker'
import { clientIdOf } from '../client-id.ts'
import { WorkerConnection } from './worker-connection.ts'
import type { Assignment } from '../connection/protocol.ts'
import { backoffMs, type GearmanServer } from '../connection/gearman-server.ts'
import { DelayPoller } from './delay-poller.ts'

export interface ServerConnectionEvents {
  readonly onJob: (link: WorkerConnection, assignment: Assignment) => void
  readonly onReady: () => void
  /** There are so many charges on the server. */
  readonly onCharges: (count: number) => Promise<void>
  /** A link has ended: the server has taken back what it held. */
  readonly onLost: (link: WorkerConnection) => void
}

/** A consumer's place at one server: its link while the server is there, and the patience to join it again. */
export class ServerConnection {
  readonly server: GearmanServer
  readonly #options: ConsumeOptions
  readonly #events: ServerConnectionEvents
  readonly #end = new AbortController()
  #link: WorkerConnection | undefined
  /** Whether the charges on the server are known: before that, a job that it gives would be taken for one that has none. */
  #isReady = false
  #watch: DelayPoller | undefined
  #lost: BrokerError | undefined
  #failures = 0
  #timer: NodeJS.Timeout | undefined

  constructor(server: GearmanServer, options: ConsumeOptions, events: ServerConnectionEvents) {
    this.server = server
    this.#options = options
    this.#events = events
  }

  /** The connection to the server, while there is one that jobs may be asked of. */
  get link(): WorkerConnection | undefined {
    return this.#isReady ? this.#link : undefined
  }

  /** Why there is none. */
  get lost(): BrokerError | undefined {
    return this.#lost
  }

  /** Resolves when it has joined. Rejects where it has not, and tries on, until it is closed. */
  async start(): Promise<void> {
    try {
      await this.#join()
    } catch (error) {
      this.#later()
      throw error
    }
  }

  /** A job of this queue was delayed on this server. */
  hint(queue: string, atMs: number): void {
    this.#watch?.hint(queue, atMs)
  }

  /** Gives back what the link holds. Never rejects. */
  async close(): Promise<void> {
    this.#end.abort()
    clearTimeout(this.#timer)
    this.#watch?.close()
    await this.#link?.close()
  }

  async #join(): Promise<void> {
    const queues = this.#options.queues.map(({ name }) => name)
    const signal = AbortSignal.any([this.#end.signal, this.server.signal])
    const link = await WorkerConnection.open(
      this.server.address,
      {
        clientId: clientIdOf(this.#options.client),
        queues,
        events: {
          onJob: (from, assignment) => this.#events.onJob(from, assignment),
          onReady: () => this.#events.onReady(),
          onEnd: (_, error) => this.#leave(error),
        },
      },
      signal,
    )
    if (signal.aborted) {
      link.destroy()
      signal.throwIfAborted()
    }
    // It may have ended before anybody was told of it.
    if (link.ended) return
    this.#link = link
    this.#failures = 0
    this.#watch = new DelayPoller(this.server.address, queues, {
      onDue: (functionName) => link.serveOnce(functionName),
      onEmpty: (functionName) => link.serveNoMore(functionName),
      onCharges: (count) => this.#events.onCharges(count),
    })
    // What it gets from now on may have been charged before.
    await this.#watch.look()
    // Meanwhile it may have been left, and another joined.
    if (this.#link === link) this.#isReady = true
    this.#events.onReady()
  }

  #leave(error: BrokerError): void {
    const link = this.#link
    this.#link = undefined
    this.#isReady = false
    this.#watch?.close()
    this.#lost = error
    if (link !== undefined) this.#events.onLost(link)
    this.#later()
  }

  #later(): void {
    if (this.#end.signal.aborted || this.server.signal.aborted) return
    const onTimer = (): void => {
      this.#join().catch(() => this.#later())
    }
    this.#timer = setTimeout(onTimer, backoffMs(this.#failures++)).unref()
  }
}

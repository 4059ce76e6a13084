import type { BrokerError, ConsumeOptions } from '@zyqueue/core/broker'
import { clientIdOf } from '../client-id.ts'
import { backoffMs, type GearmanServer } from '../gearman-server.ts'
import { DelayPoller } from './delay-poller.ts'
import { WorkerConnection } from './worker-connection.ts'

export interface ServerConnectionEvents {
  /** The server may have jobs. */
  readonly onReady: () => void
  /** The number of notes about lost deliveries on the server. */
  readonly onLostDeliveries: (count: number) => Promise<void>
  /** The connection has ended: the server has taken back its jobs. */
  readonly onLost: (worker: WorkerConnection) => void
}

/** A consumer's place at one server: connects again whenever the connection is lost. */
export class ServerConnection {
  /** Why the last connection ended. */
  lost: BrokerError | undefined
  readonly #server: GearmanServer
  readonly #options: ConsumeOptions
  readonly #events: ServerConnectionEvents
  readonly #end = new AbortController()
  readonly #onServerClosed = (): void => this.#end.abort(this.#server.signal.reason)
  #worker: WorkerConnection | undefined
  /** Whether the notes about lost deliveries were read. Before that, a job would seem to have none. */
  #isReady = false
  #poller: DelayPoller | undefined
  #failures = 0
  #isClosing = false
  #timer: NodeJS.Timeout | undefined

  constructor(server: GearmanServer, options: ConsumeOptions, events: ServerConnectionEvents) {
    this.#server = server
    this.#options = options
    this.#events = events
    server.signal.addEventListener('abort', this.#onServerClosed, { once: true })
  }

  /** The connection, if the consumer may ask it for jobs. */
  get worker(): WorkerConnection | undefined {
    return this.#isReady ? this.#worker : undefined
  }

  /** Makes the first attempt. If it rejects, others follow until `close`. */
  async start(): Promise<void> {
    try {
      await this.#connect()
    } catch (error) {
      this.#retryLater()
      throw error
    }
  }

  /** Gives back all jobs. Never rejects. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#server.signal.removeEventListener('abort', this.#onServerClosed)
    clearTimeout(this.#timer)
    this.#poller?.close()
    await this.#worker?.close()
    this.#end.abort()
  }

  async #connect(): Promise<void> {
    const queues = this.#options.queues.map(({ name }) => name)
    const { signal } = this.#end
    const clientId = clientIdOf(this.#options.client)
    const events = { onReady: this.#events.onReady, onEnd: (_: unknown, error: BrokerError) => this.#leave(error) }
    const worker = await WorkerConnection.open(this.#server, { clientId, queues, events }, signal)
    // It may have ended already: `#leave` has been called then.
    if (!worker.connection.isOpen) return
    this.#worker = worker
    this.#failures = 0
    this.#poller = new DelayPoller(this.#server, queues, {
      onDue: (functionName) => worker.serveUntilEmpty(functionName),
      onEmpty: (functionName) => worker.markEmpty(functionName),
      onLostDeliveries: this.#events.onLostDeliveries,
    })
    await this.#poller.poll()
    // The connection may be another one by now.
    if (this.#worker === worker) this.#isReady = true
    this.#events.onReady()
  }

  #leave(error: BrokerError): void {
    const worker = this.#worker
    this.#worker = undefined
    this.#isReady = false
    this.#poller?.close()
    this.lost = error
    if (worker !== undefined) this.#events.onLost(worker)
    this.#retryLater()
  }

  #retryLater(): void {
    if (this.#isClosing || this.#end.signal.aborted) return
    const onTimer = (): void => {
      this.#connect().catch(() => this.#retryLater())
    }
    this.#timer = setTimeout(onTimer, backoffMs(this.#failures++)).unref()
  }
}

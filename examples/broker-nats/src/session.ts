import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream'
import {
  connect,
  errors,
  NatsConnectionImpl,
  type ConnectionOptions,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
} from '@nats-io/transport-node'
import { toHeaders, type Envelope } from './envelope.ts'
import { connectionLost } from './errors.ts'

/** The contract asks for about ten seconds. A busy machine needs most of them: an answer that is given up is a job that waits for `ackWait`. */
const TIMEOUT_MS = 10_000
/** How long a pull may go without an answer before the connection is doubted. */
const DOUBT_MS = 5_000
/** The client's own bound, which `within` comes before: the client gives up an answer that has arrived and is not read yet. */
const LIBRARY_MS = 2 * TIMEOUT_MS

/** One connection. Nothing of it is retried or reconnected: core does that. */
export class Session {
  readonly connection: NatsConnection
  readonly manager: JetStreamManager
  readonly #client: JetStreamClient
  readonly #pending = new Set<() => void>()
  #closing: Promise<void> | undefined

  static async open(options: ConnectionOptions): Promise<Session> {
    const connection = await connect({ ...options, reconnect: false, timeout: TIMEOUT_MS })
    unref(connection)
    const manager = await jetstreamManager(connection, { timeout: TIMEOUT_MS, checkAPI: false })
    return new Session(connection, manager)
  }

  private constructor(connection: NatsConnection, manager: JetStreamManager) {
    this.connection = connection
    this.manager = manager
    this.#client = jetstream(connection, { timeout: TIMEOUT_MS })
    void connection.closed().then(() => this.#loseAll())
  }

  get isOpen(): boolean {
    return this.#closing === undefined && !this.connection.isClosed()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /**
   * The client's `close` removes the listeners of its socket at once. If the server has just ended the connection, the last
   * write fails one tick later. An error without a listener would end the process, so this waits a turn first.
   */
  async #close(): Promise<void> {
    await turn()
    await this.connection.close()
  }

  /** Resolves to the one answer. A connection that is silent for so long is given up, so that core makes another. */
  async request(subject: string, payload: string): Promise<Msg> {
    if (!this.isOpen) throw connectionLost()
    // A job that is delivered keeps its own subject, by which the client's shared inbox would not know it: no mux.
    return this.#orLost(this.connection.request(subject, payload, { timeout: LIBRARY_MS, noMux: true }))
  }

  /**
   * As `request`, for a pull, which the server may leave without an answer: undefined then. A pull that runs out as the last job
   * goes to another is such a one, in one of some thousand cases (nats-server 2.9). Another request tells whether the connection
   * is silent. An answer that comes even later goes to `onLate`: otherwise its job would wait until `ackWait` ends.
   */
  async look(subject: string, payload: string, onLate: (message: Msg) => void): Promise<Msg | undefined> {
    if (!this.isOpen) throw connectionLost()
    const answer = this.#unlessLost(
      this.connection.request(subject, payload, { timeout: LIBRARY_MS + TIMEOUT_MS, noMux: true }),
    )
    try {
      return await within(answer, DOUBT_MS)
    } catch (error) {
      if (!(error instanceof errors.TimeoutError)) throw error
    }
    // The server's answers are read in their order: what it sent before this one has been read.
    const first = await Promise.race([answer, this.request('$JS.API.INFO', '').then(() => undefined)])
    if (first === undefined) answer.then(onLate).catch(() => undefined)
    return first
  }

  /** Resolves when it is stored. `once` is what it is recognised by for ten minutes. */
  async store(subject: string, body: Uint8Array, envelope: Envelope, once: string): Promise<void> {
    if (!this.isOpen) throw connectionLost()
    const headers: MsgHdrs = toHeaders(envelope)
    await this.#orLost(this.#client.publish(subject, body, { headers, msgID: once, timeout: LIBRARY_MS }))
  }

  #loseAll(): void {
    for (const lose of this.#pending) lose()
  }

  /** As `#unlessLost`, where silence means that the connection is. */
  async #orLost<Value>(answer: Promise<Value>): Promise<Value> {
    try {
      return await within(this.#unlessLost(answer), TIMEOUT_MS)
    } catch (error) {
      if (error instanceof errors.TimeoutError) void this.close().catch(() => undefined)
      throw error
    }
  }

  /** The client leaves some requests without an end when the connection is closed under them. */
  async #unlessLost<Value>(answer: Promise<Value>): Promise<Value> {
    let lose: (() => void) | undefined
    const lost = new Promise<never>((_, reject) => {
      lose = () => reject(connectionLost())
      this.#pending.add(lose)
    })
    try {
      return await Promise.race([answer, lost])
    } finally {
      if (lose !== undefined) this.#pending.delete(lose)
    }
  }
}

/** Settles as the answer does, or rejects with a `TimeoutError` when what has arrived within that time was read. */
async function within<Value>(answer: Promise<Value>, ms: number): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    // After a pause of this process timers fire before sockets are read, and this behind them.
    timer = setTimeout(() => setImmediate(() => reject(new errors.TimeoutError())), ms)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The client has no option for this. Its heartbeat is a timer made anew each time; the calls here have ends of their own. */
function unref(connection: NatsConnection): void {
  if (!(connection instanceof NatsConnectionImpl)) return
  const { heartbeats, transport } = connection.protocol
  heartbeats.cancel()
  if ('socket' in transport && transport.socket instanceof Socket) transport.socket.unref()
}

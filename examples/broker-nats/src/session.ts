import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream'
import {
  connect,
  errors,
  NatsConnectionImpl,
  type ConnectionOptions,
  type Msg,
  type NatsConnection,
} from '@nats-io/transport-node'
import { startTimeout } from '@zyqueue/core/broker'
import { connectionLost } from './errors.ts'
import { toHeaders, type Envelope } from './message.ts'
import { durableOf, JOBS } from './names.ts'

/** A connection that does not answer for this long is closed. Shorter is worse: a job whose answer is given up waits for `ackWait`. */
const TIMEOUT_MS = 10_000
/** After this time a pull without an answer checks the connection with another request. */
const PULL_TIMEOUT_MS = 5_000
/** Never reached: the client counts time in which the event loop is blocked, and gives up answers that arrived meanwhile. */
const CLIENT_TIMEOUT_MS = 3 * TIMEOUT_MS
/**
 * How long the server waits for a job before it answers that there is none. With `no_wait` it does not answer if another
 * request has just taken the last job; with a short time it nearly always does.
 */
const EXPIRES_NS = 20_000_000

/** One connection. It does not retry or reconnect: core does. */
export class Session {
  readonly connection: NatsConnection
  readonly manager: JetStreamManager
  readonly #client: JetStreamClient
  /** Rejects each pending call. */
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
    // The client leaves some requests pending when the connection is closed.
    void connection.closed().finally(() => {
      for (const reject of this.#pending) reject()
    })
  }

  get isOpen(): boolean {
    return this.#closing === undefined && !this.connection.isClosed()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /**
   * The client's `close` removes the listeners from its socket at once. If the server has just ended the connection, a pending
   * write reports its error one tick later, and without a listener that error would end the process.
   */
  async #close(): Promise<void> {
    await turn()
    await this.connection.close()
  }

  /** Resolves to the answer. */
  async request(subject: string, payload: string): Promise<Msg> {
    return this.#answered(this.#send(subject, payload))
  }

  /**
   * Takes one message of a queue; `undefined` if there is none now. About one pull of a thousand gets no answer: it expires while
   * the last job goes to another consumer (nats-server 2.9). If its answer comes after this returned, `onLate` gets the message.
   */
  async pull(queue: string, onLate: (message: Msg) => void): Promise<Msg | undefined> {
    const subject = `$JS.API.CONSUMER.MSG.NEXT.${JOBS}.${durableOf(queue)}`
    const answer = this.#send(subject, `{"batch":1,"expires":${EXPIRES_NS}}`).then(jobIn)
    try {
      return await this.#bounded(answer, PULL_TIMEOUT_MS)
    } catch (error) {
      if (!(error instanceof errors.TimeoutError)) throw error
    }
    // The server's answers are read in their order, so what it sent before this one has been read.
    const isOpen = this.request('$JS.API.INFO', '').then(() => 'open' as const)
    const first = await Promise.race([answer, isOpen])
    if (first !== 'open') return first
    answer.then((late) => late && onLate(late)).catch(() => {})
    return undefined
  }

  /** Resolves when the message is stored. The server stores one message for each `id` in ten minutes. */
  async store(subject: string, body: Uint8Array, envelope: Envelope, id: string): Promise<void> {
    if (!this.isOpen) throw connectionLost()
    const headers = toHeaders(envelope)
    await this.#answered(this.#client.publish(subject, body, { headers, msgID: id, timeout: CLIENT_TIMEOUT_MS }))
  }

  async #send(subject: string, payload: string): Promise<Msg> {
    if (!this.isOpen) throw connectionLost()
    // The client's shared inbox finds a request by the subject of its answer, and a delivered job keeps its own: noMux.
    return this.connection.request(subject, payload, { timeout: CLIENT_TIMEOUT_MS, noMux: true })
  }

  async #answered<Value>(answer: Promise<Value>): Promise<Value> {
    try {
      return await this.#bounded(answer, TIMEOUT_MS)
    } catch (error) {
      if (error instanceof errors.TimeoutError) void this.close().catch(() => {})
      throw error
    }
  }

  /** Rejects with a `TimeoutError` after `ms`, and when the connection is lost. */
  #bounded<Value>(answer: Promise<Value>, ms: number): Promise<Value> {
    return new Promise((resolve, reject) => {
      const onLost = (): void => reject(connectionLost())
      this.#pending.add(onLost)
      const stop = startTimeout(ms, () => reject(new errors.TimeoutError()))
      void answer.then(resolve, reject).finally(() => {
        stop()
        this.#pending.delete(onLost)
      })
    })
  }
}

/** Answers with a status (404, 408) say that there is no job. Jobs have none. */
function jobIn(message: Msg): Msg | undefined {
  return message.headers === undefined || message.headers.code === 0 ? message : undefined
}

/** The client has no option for this. It makes a new heartbeat timer each time, so stop them: calls here have timeouts. */
function unref(connection: NatsConnection): void {
  if (!(connection instanceof NatsConnectionImpl)) return
  const { heartbeats, transport } = connection.protocol
  heartbeats.cancel()
  if ('socket' in transport && transport.socket instanceof Socket) transport.socket.unref()
}

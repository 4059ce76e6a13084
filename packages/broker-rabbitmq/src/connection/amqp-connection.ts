import { Socket } from 'node:net'
import { connect, type Channel, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { BrokerError, startTimeout } from '@zyqueue/core/broker'
import type { Address } from './address.ts'
import { connectionLost, messageOf, openingError } from '../errors.ts'

/** The contract allows about ten seconds. */
export const ANSWER_TIMEOUT_MS = 7_000
/** If the server sends nothing for this long, it is asked for an answer. */
const QUIET_MS = 5_000
/** How long the server may take to answer a close. */
const CLOSE_TIMEOUT_MS = 1_000
const KEEP_ALIVE_MS = 30_000
/** Holds all pending batches of core, so that only amqplib's muxer waits for `drain`. */
const SOCKET_BUFFER_BYTES = 256 * 1024
const FRAMES_IN_BUFFER = 8_192

/** One AMQP connection. After its loss it does not come back: the broker opens another. */
export class AmqpConnection {
  /** The version of the server. */
  readonly version: string
  readonly #model: ChannelModel
  readonly #cut: AbortController
  readonly #socket: Socket | undefined
  readonly #lostListeners = new Set<(error: BrokerError) => void>()
  readonly #unblocked = new Set<() => void>()
  #lost: BrokerError | undefined
  #blockedBecause: string | undefined
  #watchdog: NodeJS.Timeout | undefined

  /** Tries the hosts in turn. Rejects with the error of the last host, or the reason of the signal. */
  static async open(address: Address, name: string, signal: AbortSignal): Promise<AmqpConnection> {
    let failure: BrokerError | undefined
    for (const { hostname, port } of address.hosts) {
      signal.throwIfAborted()
      const cut = new AbortController()
      const abort = (): void => cut.abort()
      signal.addEventListener('abort', abort)
      // amqplib's own timeout starts again with each byte that the server sends.
      const stop = startTimeout(address.connectTimeoutMs, abort)
      try {
        return new AmqpConnection(await dial(address, hostname, port, name, cut.signal), cut)
      } catch (error) {
        const why = cut.signal.aborted ? new Error(`no answer within ${address.connectTimeoutMs} ms`) : error
        failure = openingError(why, `${hostname}:${port}`)
      } finally {
        stop()
        signal.removeEventListener('abort', abort)
      }
    }
    signal.throwIfAborted()
    throw failure ?? connectionLost('The address names no host')
  }

  private constructor(model: ChannelModel, cut: AbortController) {
    this.#model = model
    this.#cut = cut
    this.version = model.connection.serverProperties.version
    this.#socket = socketOf(model)
    releaseTimers(model)
    this.#socket?.unref()
    let reason: unknown
    model.on('error', (error) => (reason ??= error))
    model.on('close', (error) => this.#lose(reason ?? error))
    model.on('blocked', (because) => (this.#blockedBecause = because))
    model.on('unblocked', () => this.#unblock())
    if (this.#socket !== undefined) this.#watchdog = this.#watch(this.#socket)
  }

  get open(): boolean {
    return this.#lost === undefined
  }

  /** The alarm (memory or disk) because of which the server accepts no messages from this connection. */
  get blockedBecause(): string | undefined {
    return this.#blockedBecause
  }

  /** Calls the listener once when the connection is lost, or at once if it is. Returns a function that removes the listener. */
  onLost(listener: (error: BrokerError) => void): () => void {
    if (this.#lost === undefined) this.#lostListeners.add(listener)
    else listener(this.#lost)
    return () => this.#lostListeners.delete(listener)
  }

  /** Resolves when the server accepts messages again, or the connection is lost. */
  unblocked(): Promise<void> {
    if (this.#blockedBecause === undefined || !this.open) return Promise.resolve()
    return new Promise((resolve) => this.#unblocked.add(resolve))
  }

  async channel(): Promise<Channel> {
    return watched(await this.ask(() => this.#model.createChannel({ highWaterMark: FRAMES_IN_BUFFER })))
  }

  async confirmChannel(): Promise<ConfirmChannel> {
    return watched(await this.ask(() => this.#model.createConfirmChannel({ highWaterMark: FRAMES_IN_BUFFER })))
  }

  /** Makes a call that the server must answer. If no answer comes, it rejects and the connection ends. */
  ask<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      // amqplib does not reject the calls of a channel when its connection ends.
      const forget = this.onLost(reject)
      if (this.#lost !== undefined) return
      const stop = startTimeout(ANSWER_TIMEOUT_MS, () => this.destroy('RabbitMQ did not answer'))
      const settled = (settle: () => void): void => {
        stop()
        forget()
        settle()
      }
      new Promise<Answer>((answer) => answer(call())).then(
        (answer) => settled(() => resolve(answer)),
        // The error of the connection has more detail than that of its channel.
        (error: unknown) => settled(() => reject(this.#lost ?? error)),
      )
    })
  }

  /** Sends the writes of this turn of the event loop in few packets. */
  cork(): void {
    const socket = this.#socket
    if (socket === undefined) return
    socket.cork()
    // amqplib writes its frames in an immediate that was requested before.
    setImmediate(() => setImmediate(() => socket.uncork()))
  }

  /** Closes the socket at once. */
  destroy(why: string): void {
    this.#lose(connectionLost(why))
  }

  /** Closes after the server has read all that was sent. Never rejects. */
  async close(): Promise<void> {
    const stop = startTimeout(CLOSE_TIMEOUT_MS, () => this.destroy('The connection was closed'))
    await this.ask(() => this.#model.close()).catch(() => undefined)
    stop()
    this.destroy('The connection was closed')
  }

  #lose(cause: unknown): void {
    if (this.#lost !== undefined) return
    this.#lost =
      cause instanceof BrokerError
        ? cause
        : connectionLost(
            `The connection to RabbitMQ broke: ${cause === undefined ? 'it was closed' : messageOf(cause)}`,
            cause,
          )
    clearInterval(this.#watchdog)
    this.#cut.abort()
    this.#unblock()
    for (const listener of this.#lostListeners) listener(this.#lost)
    this.#lostListeners.clear()
  }

  #unblock(): void {
    this.#blockedBecause = undefined
    for (const resolve of this.#unblocked) resolve()
    this.#unblocked.clear()
  }

  /**
   * Detects a silent peer in about ten seconds. AMQP's heartbeats must be slow because handlers may block the event loop. In an
   * alarm the server answers nothing, so its silence does not count.
   */
  #watch(socket: Socket): NodeJS.Timeout {
    let bytesRead = -1
    return setInterval(() => {
      const isSilent = socket.bytesRead === bytesRead && this.#blockedBecause === undefined
      bytesRead = socket.bytesRead
      if (isSilent) void this.#probe()
    }, QUIET_MS).unref()
  }

  /** Asks for an answer. If none comes, `ask` ends the connection. */
  async #probe(): Promise<void> {
    const channel = await this.channel().catch(() => undefined)
    if (channel !== undefined) await this.ask(() => channel.close()).catch(() => {})
  }
}

function dial(
  { tls, username, password, vhost, heartbeat }: Address,
  hostname: string,
  port: number,
  name: string,
  signal: AbortSignal,
): Promise<ChannelModel> {
  const target = { protocol: tls ? 'amqps' : 'amqp', hostname, port, username, password, vhost, heartbeat }
  const socketOptions = {
    noDelay: true,
    keepAlive: true,
    keepAliveDelay: KEEP_ALIVE_MS,
    clientProperties: { connection_name: name, product: 'ZyQueue' },
    // amqplib passes these two on to the socket.
    highWaterMark: SOCKET_BUFFER_BYTES,
    signal,
  }
  return connect(target, socketOptions)
}

function watched<Opened extends Channel>(channel: Opened): Opened {
  // The failed call rejects. Without a listener the event would end the process.
  channel.on('error', () => undefined)
  return channel
}

/** The contract wants unref'd sockets and timers, but amqplib has no access to them. */
function socketOf({ connection }: ChannelModel): Socket | undefined {
  const stream: unknown = Reflect.get(connection, 'stream')
  return stream instanceof Socket ? stream : undefined
}

function releaseTimers({ connection }: ChannelModel): void {
  const heart: unknown = Reflect.get(connection, 'heartbeater')
  if (typeof heart !== 'object' || heart === null) return
  for (const name of ['sendTimer', 'recvTimer']) {
    const timer: unknown = Reflect.get(heart, name)
    if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function')
      timer.unref()
  }
}

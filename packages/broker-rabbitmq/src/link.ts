import { Socket } from 'node:net'
import { connect, type Channel, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { BrokerError } from '@zyqueue/core/broker'
import type { Address } from './address.ts'
import { connectionLost, messageOf, openingError } from './errors.ts'
import { afterSteps, PATIENCE_MS } from './patience.ts'

/** A connection that has been silent for so long is asked whether it is still there. */
const QUIET_MS = 5_000
/** How long the server may take over saying goodbye. */
const FAREWELL_MS = 1_000
const KEEP_ALIVE_MS = 30_000
/** All that core has in flight, some batches, fits on its way to the socket: to wait for `drain` is amqplib's muxer's part. */
const SOCKET_BUFFER_BYTES = 256 * 1024
const FRAMES_IN_BUFFER = 8_192

/** One AMQP connection, from its opening to its loss; it does not come back. Whoever lost it opens another. */
export class Link {
  /** The server's version, as it said itself. */
  readonly version: string
  readonly #model: ChannelModel
  readonly #cut: AbortController
  readonly #socket: Socket | undefined
  readonly #lostListeners = new Set<(error: BrokerError) => void>()
  readonly #unblocked = new Set<() => void>()
  #lost: BrokerError | undefined
  #blockedBecause: string | undefined
  #pulse: NodeJS.Timeout | undefined

  /** Tries the hosts in turn. Rejects with `BrokerError`, that of the last host; aborted by the signal at any time. */
  static async open(address: Address, name: string, signal: AbortSignal): Promise<Link> {
    let failure: BrokerError | undefined
    for (const { hostname, port } of address.hosts) {
      signal.throwIfAborted()
      const cut = new AbortController()
      const onAbort = (): void => cut.abort()
      signal.addEventListener('abort', onAbort)
      try {
        return new Link(await dial(address, hostname, port, name, cut.signal), cut)
      } catch (error) {
        cut.abort()
        failure = openingError(error, `${hostname}:${port}`)
      } finally {
        signal.removeEventListener('abort', onAbort)
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
    this.#watch()
  }

  get open(): boolean {
    return this.#lost === undefined
  }

  /** Why the server takes no messages from this connection at the moment: an alarm about its memory or disk. */
  get blockedBecause(): string | undefined {
    return this.#blockedBecause
  }

  /** Calls once, when it is lost; at once where it is. Returns what takes the listener away. */
  onLost(listener: (error: BrokerError) => void): () => void {
    if (this.#lost === undefined) this.#lostListeners.add(listener)
    else listener(this.#lost)
    return () => this.#lostListeners.delete(listener)
  }

  /** Resolves when the server takes messages again, or the connection is lost. */
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

  /** Makes a call that the server has to answer; one that it does not answer ends the connection, and rejects. */
  ask<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      // Not left to amqplib: who waits for the end of a channel never hears of that of its connection.
      const forget = this.onLost(reject)
      if (this.#lost !== undefined) return
      const stop = afterSteps(PATIENCE_MS, () => this.destroy('RabbitMQ did not answer'))
      const settled = (settle: () => void): void => {
        stop()
        forget()
        settle()
      }
      call().then(
        (answer) => settled(() => resolve(answer)),
        // A channel that went with its connection says less than the connection does.
        (error: unknown) => settled(() => reject(this.#lost ?? error)),
      )
    })
  }

  /** Puts what is written until the end of this turn of the event loop into as few packets as may be. */
  cork(): void {
    const socket = this.#socket
    if (socket === undefined) return
    socket.cork()
    // amqplib hands over its frames in an immediate of its own, which was asked for before this one.
    setImmediate(() => setImmediate(() => socket.uncork()))
  }

  /** Ends it at once; the server sees its socket close. */
  destroy(why: string): void {
    this.#lose(connectionLost(why))
  }

  /** Says goodbye to the server, which has then read all that was sent, and closes. Never rejects. */
  async close(): Promise<void> {
    const stop = afterSteps(FAREWELL_MS, () => this.destroy('The connection was closed'))
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
    clearInterval(this.#pulse)
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
   * Notices a peer that is gone without a word, in some ten seconds: AMQP's heartbeats have to be slow, for the sake of
   * handlers that block the event loop.
   */
  #watch(): void {
    const socket = this.#socket
    if (socket === undefined) return
    let read = socket.bytesRead
    let asking = false
    this.#pulse = setInterval(() => {
      const quiet = socket.bytesRead === read
      read = socket.bytesRead
      // In an alarm it answers nothing, and is there.
      if (!quiet || asking || this.#blockedBecause !== undefined) return
      asking = true
      void this.#probe().finally(() => (asking = false))
    }, QUIET_MS)
    this.#pulse.unref()
  }

  async #probe(): Promise<void> {
    try {
      const channel = await this.channel()
      await this.ask(() => channel.close())
    } catch {
      // What was to be known of it, its listeners have heard.
    }
  }
}

async function dial(
  address: Address,
  hostname: string,
  port: number,
  name: string,
  signal: AbortSignal,
): Promise<ChannelModel> {
  const { tls, username, password, vhost, heartbeat, connectTimeoutMs } = address
  const socketOptions = {
    noDelay: true,
    keepAlive: true,
    keepAliveDelay: KEEP_ALIVE_MS,
    // amqplib's covers silence only: a peer that sends a byte now and then would hold it for ever.
    timeout: connectTimeoutMs,
    clientProperties: { connection_name: name, product: 'ZyQueue' },
    // Both are options of the socket, to which amqplib hands all on.
    highWaterMark: SOCKET_BUFFER_BYTES,
    signal,
  }
  const target = { protocol: tls ? 'amqps' : 'amqp', hostname, port, username, password, vhost, heartbeat }
  let tooLate = false
  const dialled = connect(target, socketOptions)
  const late = new Promise<never>((_resolve, reject) => {
    const stop = afterSteps(connectTimeoutMs, () => {
      tooLate = true
      reject(new Error(`no answer within ${connectTimeoutMs} ms`))
    })
    void dialled.then(stop, stop)
    signal.addEventListener('abort', () => reject(new Error('given up')), { once: true })
  })
  late.catch(() => undefined)
  void dialled.then(
    // Nobody is waiting for it any more.
    (model) => (tooLate || signal.aborted ? model.close().catch(() => undefined) : undefined),
    () => undefined,
  )
  return Promise.race([dialled, late])
}

function watched<Opened extends Channel>(channel: Opened): Opened {
  // The call that failed says so itself; an error event without a listener would end the process.
  channel.on('error', () => undefined)
  return channel
}

/** amqplib keeps the socket and the timers of its heartbeat to itself, and the contract wants both unref'd. */
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

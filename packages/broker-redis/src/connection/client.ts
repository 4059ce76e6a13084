/** A connection to one server. All features of ioredis that resend or queue commands are switched off. */
import { createConnection, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { BrokerError, ConfigError, ZyQueueError } from '@zyqueue/core/broker'
import { AbstractConnector, Redis } from 'ioredis'
import { ConnectionLostError, notConnectedError, ServerError } from '../errors.ts'
import { connectError, type Attempt } from './connect-errors.ts'
import type { Address } from '../options.ts'
import { isList, type Reply } from './replies.ts'
import type { Script } from '../scripts/script.ts'
import { watchSocket } from './socket-watchdog.ts'

export interface Access {
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  /** Absent: no TLS. `ca` has the trusted certificates; without it, Node's default certificates are trusted. */
  readonly tls: { readonly ca: string | undefined } | undefined
}

export type Argument = string | number | Buffer

/** The limit for the whole connection setup, in ms. */
const CONNECT_TIMEOUT_MS = 6_000

export class Client {
  readonly address: Address
  readonly #redis: Redis
  #socket: Socket | undefined
  #listener: (channel: string, message: string) => void = () => {}
  #pending = 0
  #idle: (() => void)[] = []
  #destroyed = false
  #isReplica = false
  #mode = ''
  #reached: Attempt['reached'] = 'nothing'
  #received: Buffer | undefined
  /** The reason why the connection ended. */
  #failure: Error | undefined

  /** Connects once. Rejects as `connectError` says. */
  static async open(address: Address, access: Access, signal: AbortSignal): Promise<Client> {
    const client = new Client(address, access)
    let isTimeout = false
    const giveUp = (): void => client.destroy(new ConnectionLostError('Connecting to Redis was cancelled'))
    const timer = setTimeout(() => {
      isTimeout = true
      giveUp()
    }, CONNECT_TIMEOUT_MS)
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      signal.throwIfAborted()
      await client.#redis.connect()
      client.#watch()
      await client.#handshake(access.database)
      return client
    } catch (error) {
      client.destroy()
      throw connectError(client.#failure ?? toError(error), {
        address,
        username: access.username,
        password: access.password,
        isTls: access.tls !== undefined,
        reached: client.#reached,
        received: client.#received,
        isTimeout,
      })
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
    }
  }

  private constructor(address: Address, { username, password, tls }: Access) {
    this.address = address
    this.#redis = new Redis({
      Connector: connectorTo(address, tls, (socket) => this.#follow(socket)),
      // ioredis then waits for the event `secureConnect`; the connector has the TLS options.
      ...(tls && { tls: {} }),
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      // RESP3 sends published messages and replies on one connection.
      protocol: 3,
      lazyConnect: true,
      // Core decides when to reconnect and what to resend.
      retryStrategy: null,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      autoResubscribe: false,
      connectTimeout: CONNECT_TIMEOUT_MS,
      // ioredis ignores refusals of the commands that it sends while it connects: it stays in database 0, or prints a warning.
      // So it only sends `HELLO` with the password, and `#handshake` does the rest.
      enableReadyCheck: false,
      disableClientInfo: true,
    })
    this.#redis.on('error', (error: unknown) => {
      this.#failure ??= toError(error)
    })
    this.#redis.on('message', (channel: string, message: string) => this.#listener(channel, message))
  }

  get isReplica(): boolean {
    return this.#isReplica
  }

  /** `standalone`, `sentinel` or `cluster`, as the server says. */
  get mode(): string {
    return this.#mode
  }

  get usable(): boolean {
    return this.#redis.status === 'ready' && !this.#destroyed
  }

  /** Rejects with `ServerError`, with `ConnectionLostError`, or with `ZYQ_CONNECTION_LOST` if the command was not sent. */
  async command(name: string, ...args: readonly Argument[]): Promise<Reply> {
    if (!this.usable) throw notConnectedError()
    this.#pending++
    try {
      return (await this.#redis.callBuffer(name, [...args])) as Reply
    } catch (thrown) {
      const error = this.#causeOf(toError(thrown))
      // ioredis may still report its status as ready.
      if (!(error instanceof ServerError)) this.destroy(error)
      throw error
    } finally {
      if (--this.#pending === 0) for (const idle of this.#idle.splice(0)) idle()
    }
  }

  /** Sends the hash of the script, and its text if the server does not know the hash. */
  async run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<Reply> {
    const send = (command: string, id: string): Promise<Reply> =>
      this.command(command, id, keys.length, ...keys, ...args)
    try {
      return await send('EVALSHA', script.sha).catch((error: unknown) => {
        if (error instanceof ServerError && error.message.startsWith('NOSCRIPT')) return send('EVAL', script.lua)
        throw error
      })
    } catch (error) {
      throw error instanceof ServerError ? nameRefusedCommand(error, script) : error
    }
  }

  /** Calls `listener` for each message on the channels to which this connection subscribes. */
  listen(listener: (channel: string, message: string) => void): void {
    this.#listener = listener
  }

  /** Resolves when no command is pending. */
  async waitUntilIdle(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>((idle) => this.#idle.push(idle))
  }

  #follow(socket: Socket): void {
    this.#socket = socket
    socket.once('connect', () => (this.#reached = 'port'))
    socket.once('secureConnect', () => (this.#reached = 'secure'))
    socket.once('data', (data: Buffer) => (this.#received = data))
  }

  #watch(): void {
    if (this.#socket === undefined) throw notConnectedError()
    watchSocket(
      this.#socket,
      () => this.#pending > 0,
      () => this.destroy(new ConnectionLostError('Redis did not answer in time')),
    )
  }

  /** ioredis only reports that the connection was closed. `#failure` has the reason. */
  #causeOf(error: Error): Error {
    return error instanceof ConnectionLostError && this.#failure instanceof ConnectionLostError ? this.#failure : error
  }

  /**
   * Checks the protocol and selects the database. ioredis continues without RESP3 if the server refuses it, but then a
   * subscription would block all other commands on the connection.
   */
  async #handshake(database: number): Promise<void> {
    const reply = await this.command('HELLO')
    const hello = isList(reply) ? reply : []
    const about = (name: string): Reply | undefined =>
      hello[hello.findIndex((entry) => Buffer.isBuffer(entry) && entry.toString() === name) + 1]
    if (about('proto') !== 3) {
      throw new BrokerError(
        'ZYQ_BROKER',
        'The server does not speak RESP3. Use Redis 6.2 or later, without a proxy that speaks only RESP2',
      )
    }
    if (database !== 0) await this.#select(database)
    const [role, mode] = [about('role'), about('mode')]
    this.#isReplica = Buffer.isBuffer(role) && role.toString() !== 'master'
    this.#mode = Buffer.isBuffer(mode) ? mode.toString() : ''
  }

  async #select(database: number): Promise<void> {
    try {
      await this.command('SELECT', database)
    } catch (error) {
      if (!(error instanceof ServerError)) throw error
      const message = `Redis refused the database ${database}: ${error.message}`
      if (error.code === 'ZYQ_BROKER') throw new ConfigError('ZYQ_CONNECTION_STRING', message, { cause: error })
      throw new BrokerError(error.code, message, { cause: error })
    }
  }

  /** Closes the connection immediately; pending commands reject. Idempotent. */
  destroy(reason?: Error): void {
    this.#failure ??= reason
    this.#destroyed = true
    this.#redis.disconnect()
  }
}

/** Creates the socket, so that it does not keep the process alive and `disconnect` destroys it immediately. */
function connectorTo({ host, port }: Address, tls: Access['tls'], onSocket: (socket: Socket) => void) {
  return class extends AbstractConnector {
    #socket: Socket | undefined

    constructor() {
      super(0)
    }

    async connect(): Promise<Socket> {
      const servername = /^[\d.]+$|:/.test(host) ? undefined : host
      const socket =
        tls === undefined
          ? createConnection({ host, port })
          : connectTls({ host, port, ...(servername && { servername }), ...(tls.ca !== undefined && { ca: tls.ca }) })
      this.#socket = socket.unref()
      onSocket(socket)
      this.stream = socket
      return socket
    }

    override disconnect(): void {
      this.#socket?.destroy()
    }
  }
}

/** Redis 7 reports the line of the script that the user may not run, but not the command in that line. */
function nameRefusedCommand(error: ServerError, { lua }: Script): ServerError {
  const line = /^ERR The user executing the script .* on @user_script:(\d+)/.exec(error.message)?.[1]
  const command = /redis\.p?call\('(\w+)'/.exec(lua.split('\n')[Number(line) - 1] ?? '')?.[1]
  return command === undefined ? error : new ServerError(`NOPERM ${command} is refused: ${error.message.slice(4)}`)
}

/** Copies only the message and the code, because ioredis adds the command's arguments to errors: a password, or jobs. */
function toError(error: unknown): Error {
  if (!(error instanceof Error)) return new ConnectionLostError(String(error))
  if (error instanceof ServerError || error instanceof ConnectionLostError || error instanceof ZyQueueError)
    return error
  // ioredis throws this if the socket has ended and ioredis has not received the event yet.
  if (error.message.startsWith("Stream isn't writeable")) return notConnectedError()
  if (error.name === 'ReplyError' || error.constructor.name === 'ErrorReply') return new ServerError(error.message)
  const code: unknown = 'code' in error ? error.code : undefined
  if (typeof code === 'string') return Object.assign(new Error(error.message), { code })
  return new ConnectionLostError(error.message)
}

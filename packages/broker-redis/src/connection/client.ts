/** One connection to one server, by ioredis with everything switched off that would send a command twice or keep it for later. */
import { createConnection, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { BrokerError, ConfigError, ZyQueueError } from '@zyqueue/core/broker'
import { AbstractConnector, Redis } from 'ioredis'
import { ConnectionLostError, notConnectedError, ServerError } from '../errors.ts'
import type { Address } from '../options.ts'
import { list, type Reply } from './replies.ts'
import type { Script } from '../scripts/script.ts'
import { watchSocket } from './socket-watchdog.ts'

export interface Access {
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  /** TLS, trusting these certificates, or those that Node trusts. Absent: none. */
  readonly tls: { readonly ca: string | undefined } | undefined
}

export type Argument = string | number | Buffer

/** How long connecting may take in all, in ms. */
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
  /** What ended the connection, where something did. */
  #failure: Error | undefined

  /** Connects once. Rejects with the error of the system, with `ServerError`, or with `ConnectionLostError` where nobody answers. */
  static async open(address: Address, access: Access, signal: AbortSignal): Promise<Client> {
    const client = new Client(address, access)
    const giveUp = (): void => client.destroy(new ConnectionLostError('Connecting to Redis was given up'))
    const timer = setTimeout(giveUp, CONNECT_TIMEOUT_MS)
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      signal.throwIfAborted()
      await client.#redis.connect()
      client.#watch()
      await client.#handshake(access.database)
      return client
    } catch (error) {
      client.destroy()
      throw client.#failure ?? toError(error)
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
    }
  }

  private constructor(address: Address, { username, password, tls }: Access) {
    this.address = address
    this.#redis = new Redis({
      Connector: connectorTo(address, tls, (socket) => (this.#socket = socket)),
      // Only tells ioredis which event to wait for.
      ...(tls && { tls: {} }),
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      // Pushes share the connection with replies: waiting to be woken takes no second one.
      protocol: 3,
      lazyConnect: true,
      // Core decides when to connect again, and what is to be sent again.
      retryStrategy: null,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      autoResubscribe: false,
      connectTimeout: CONNECT_TIMEOUT_MS,
      // What ioredis sends unasked while connecting, it does not insist on: a refusal leaves it in database 0, or prints.
      // So it sends `HELLO` with the password only; `#handshake` does the rest.
      enableReadyCheck: false,
      disableClientInfo: true,
    })
    this.#redis.on('error', (error: unknown) => {
      this.#failure ??= toError(error)
    })
    this.#redis.on('message', (channel: string, message: string) => this.#listener(channel, message))
  }

  /** What the server says of itself. */
  get isReplica(): boolean {
    return this.#isReplica
  }

  get usable(): boolean {
    return this.#redis.status === 'ready' && !this.#destroyed
  }

  /** Rejects with `ServerError`, with `ConnectionLostError`, or with `ZYQ_CONNECTION_LOST` where it was not sent. */
  async command(name: string, ...args: readonly Argument[]): Promise<Reply> {
    if (!this.usable) throw notConnectedError()
    this.#pending++
    try {
      return (await this.#redis.callBuffer(name, [...args])) as Reply
    } catch (thrown) {
      const error = this.#causeOf(toError(thrown))
      // ioredis may take itself for connected for a moment more.
      if (!(error instanceof ServerError)) this.destroy(error)
      throw error
    } finally {
      if (--this.#pending === 0) for (const idle of this.#idle.splice(0)) idle()
    }
  }

  /** Runs a script, by its hash if the server knows it. */
  async run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<Reply> {
    try {
      return await this.command('EVALSHA', script.sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof ServerError)) throw error
      if (!error.message.startsWith('NOSCRIPT')) throw nameRefusedCommand(error, script)
    }
    try {
      return await this.command('EVAL', script.lua, keys.length, ...keys, ...args)
    } catch (error) {
      throw error instanceof ServerError ? nameRefusedCommand(error, script) : error
    }
  }

  /** Has `listener` called with what is published on the channels that this connection subscribes to. */
  listen(listener: (channel: string, message: string) => void): void {
    this.#listener = listener
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>((idle) => this.#idle.push(idle))
  }

  #watch(): void {
    if (this.#socket === undefined) throw notConnectedError()
    watchSocket(
      this.#socket,
      () => this.#pending > 0,
      () => this.destroy(new ConnectionLostError('Redis has not answered for seconds')),
    )
  }

  /** ioredis says only that the connection was closed; why it was is known better here. */
  #causeOf(error: Error): Error {
    return error instanceof ConnectionLostError && this.#failure instanceof ConnectionLostError ? this.#failure : error
  }

  /**
   * Sees to it that the connection is what was asked for. ioredis goes on without RESP3 if a server does not speak it; then
   * waiting to be woken would block all else.
   */
  async #handshake(database: number): Promise<void> {
    const hello = list(await this.command('HELLO'))
    const about = (name: string): Reply | undefined =>
      hello[hello.findIndex((entry) => Buffer.isBuffer(entry) && entry.toString() === name) + 1]
    if (about('proto') !== 3) {
      throw new BrokerError(
        'ZYQ_BROKER',
        'The server does not speak RESP3: Redis 6.2 or later is needed, and no proxy before it',
      )
    }
    if (database !== 0) await this.#select(database)
    const role = about('role')
    this.#isReplica = Buffer.isBuffer(role) && role.toString() !== 'master'
  }

  async #select(database: number): Promise<void> {
    try {
      await this.command('SELECT', database)
    } catch (error) {
      if (!(error instanceof ServerError)) throw error
      const message = `Redis refuses the database ${database}: ${error.message}`
      if (error.code === 'ZYQ_BROKER') throw new ConfigError('ZYQ_CONNECTION_STRING', message, { cause: error })
      throw new BrokerError(error.code, message, { cause: error })
    }
  }

  /** Ends the connection at once; what is under way rejects. Idempotent. */
  destroy(reason?: Error): void {
    this.#failure ??= reason
    this.#destroyed = true
    this.#redis.disconnect()
  }
}

/** The socket is ours, so that it keeps no process alive, and is gone at once when it is to be gone. */
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

/** Redis 7 says in which line of a script the user lacks a right, and not which command is there. */
function nameRefusedCommand(error: ServerError, { lua }: Script): ServerError {
  const line = /^ERR The user executing the script .* on @user_script:(\d+)/.exec(error.message)?.[1]
  const command = /redis\.p?call\('(\w+)'/.exec(lua.split('\n')[Number(line) - 1] ?? '')?.[1]
  return command === undefined ? error : new ServerError(`NOPERM ${command} is refused: ${error.message.slice(4)}`)
}

/** ioredis puts the command with its arguments on errors: a password, or jobs. Only the message is kept. */
function toError(error: unknown): Error {
  if (!(error instanceof Error)) return new ConnectionLostError(String(error))
  if (error instanceof ServerError || error instanceof ConnectionLostError || error instanceof ZyQueueError)
    return error
  // How ioredis says that the socket has ended, and it has not heard of it yet.
  if (error.message.startsWith("Stream isn't writeable")) return notConnectedError()
  if (error.name === 'ReplyError' || error.constructor.name === 'ErrorReply') return new ServerError(error.message)
  const code: unknown = 'code' in error ? error.code : undefined
  if (typeof code === 'string') return Object.assign(new Error(error.message), { code })
  return new ConnectionLostError(error.message)
}

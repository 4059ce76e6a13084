import { BrokerError, ConfigError, messageOf, ZyQueueError } from '../errors.ts'
import { keepAlive } from '../keep-alive.ts'
import type { Broker, BrokerPlugin, ConnectOptions, QueueSpec } from '../contract/index.ts'
import { findBroker, type BrokerChoice } from './discovery.ts'
import { resolution, withEnvironment } from './resolution.ts'

/** True if the error says that the connection is gone. Only `connect` helps then. */
export function isConnectionLoss(error: ZyQueueError): boolean {
  return error.code === 'ZYQ_CONNECTION_LOST' || error.code === 'ZYQ_UNREACHABLE'
}

/** What another process needs to open the same connection. Holds the connection's secrets: only for a child of ours. */
export interface ConnectionAddress {
  /** URL of the module that the broker came from; absent where it was given in code, which no other process can have. */
  readonly url?: string | undefined
  readonly connection?: string | undefined
  readonly baseDir: string
}

/** What holds for one connection only, wherever it leads. */
export type ConnectionOptions = Pick<ConnectOptions, 'create'>

/** A broker with its state: opened on first use, opened again after a loss, replaced where it is stuck. */
export class Connection {
  readonly address: ConnectionAddress
  readonly #plugin: BrokerPlugin
  readonly #options: ConnectionOptions
  #broker: Broker
  #opening: Promise<void> | undefined
  #declared = new Map<string, Promise<void>>()
  #everOpen = false
  #closed = false

  constructor(plugin: BrokerPlugin, address: ConnectionAddress, options: ConnectionOptions = {}) {
    this.#plugin = plugin
    this.address = address
    this.#options = options
    this.#broker = this.#create()
  }

  get broker(): Broker {
    return this.#broker
  }

  /** Whether it has been open before: a broker that was there may come back, one that never was is rather a mistake. */
  get everOpen(): boolean {
    return this.#everOpen
  }

  /** Resolves when it is open. One attempt, shared by all callers. Rejects with `ZyQueueError`. */
  open(): Promise<void> {
    if (this.#closed) return Promise.reject(new BrokerError('ZYQ_CLOSED', 'The connection was closed.'))
    this.#opening ??= this.#connect(this.#broker)
    return this.#opening
  }

  /** Opens, and makes sure that the queues exist: once for each, until the connection is lost. */
  async declare(queues: readonly QueueSpec[]): Promise<void> {
    await this.open()
    await Promise.all(queues.map((queue) => this.#declare(queue)))
  }

  /** What a call of the broker rejected with, as ours. Takes note where the connection is lost. */
  wrap(error: unknown): ZyQueueError {
    const wrapped =
      error instanceof ZyQueueError
        ? error
        : new BrokerError(this.#broker.errorCode(error), `${this.#broker.name}: ${messageOf(error)}`, { cause: error })
    if (isConnectionLoss(wrapped)) this.#resetOpening()
    return wrapped
  }

  /** Puts a new broker in the place of one that is stuck; what is under way on the old one settles by its `close`. */
  async replace(): Promise<void> {
    if (this.#closed) return
    const stuck = this.#broker
    this.#broker = this.#create()
    this.#resetOpening()
    await stuck.close()
  }

  /** Keeps the process alive until it has closed: what an adapter holds meanwhile does not. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#broker.close().finally(keepAlive())
  }

  #create(): Broker {
    const { connection, baseDir } = this.address
    return this.#plugin.create({ ...this.#options, baseDir, ...(connection === undefined ? {} : { connection }) })
  }

  async #connect(broker: Broker): Promise<void> {
    try {
      await broker.connect()
      this.#everOpen = true
    } catch (error) {
      // Not where another broker has taken its place meanwhile.
      if (broker === this.#broker) this.#opening = undefined
      throw this.wrap(error)
    }
  }

  #declare(queue: QueueSpec): Promise<void> {
    const key = JSON.stringify([queue.name, queue.options])
    let declared = this.#declared.get(key)
    if (declared === undefined) {
      declared = this.#broker.declare([queue]).catch((error: unknown) => {
        this.#declared.delete(key)
        throw this.wrap(error)
      })
      this.#declared.set(key, declared)
    }
    return declared
  }

  #resetOpening(): void {
    this.#opening = undefined
    this.#declared = new Map()
  }
}

/** A connection of its own to the broker that is meant; not yet open. Rejects with `ConfigError`. */
export async function createConnection(choice: BrokerChoice, options?: ConnectionOptions): Promise<Connection> {
  const { resolveFrom, baseDir } = resolution()
  const meant = withEnvironment(choice)
  const { plugin, url } = await findBroker(meant, resolveFrom)
  const { connection } = meant
  // A relative path in code starts where the code is; one in the environment, in the folder where the program was started.
  const base = choice.connection === undefined && connection !== undefined ? process.cwd() : baseDir
  return new Connection(plugin, { url, connection, baseDir: base }, options)
}

/** A connection to where another process has one. Rejects with `ConfigError`, also where the broker was given in code. */
export async function connectionTo(address: ConnectionAddress): Promise<Connection> {
  if (address.url === undefined) {
    throw new ConfigError('ZYQ_CONFIG', 'The broker was given in code: no other process can connect to it.')
  }
  const { plugin } = await findBroker({ server: address.url }, [address.baseDir])
  return new Connection(plugin, address)
}

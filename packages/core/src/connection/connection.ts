import { BrokerError, ConfigError, messageOf, ZyQueueError } from '../errors.ts'
import { keepAlive } from '../keep-alive.ts'
import type { Broker, BrokerPlugin, ConnectOptions, QueueSpec } from '../contract/index.ts'
import { findBroker, type BrokerChoice } from './discovery.ts'
import { resolution, withEnvironment } from './resolution.ts'

/** True if the error means that the connection is lost. The caller must connect again. */
export function isConnectionLoss(error: ZyQueueError): boolean {
  return error.code === 'ZYQ_CONNECTION_LOST' || error.code === 'ZYQ_UNREACHABLE'
}

/** The data with which another process opens the same connection. It contains secrets: send it only to child processes. */
export interface ConnectionAddress {
  /** URL of the broker's module. Absent if the plugin was given in code: no other process can load it. */
  readonly url?: string | undefined
  readonly connection?: string | undefined
  readonly baseDir: string
}

/** Options of one connection. */
export type ConnectionOptions = Pick<ConnectOptions, 'create'>

/** A broker and its state: opened on first use, opened again after a loss, replaced if it is stuck. */
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

  /**
   * True if it was open before. A broker that never was reachable is probably configured wrongly, so core does not retry.
   */
  get everOpen(): boolean {
    return this.#everOpen
  }

  /** Resolves when the connection is open. One attempt, shared by all callers. Rejects with `ZyQueueError`. */
  open(): Promise<void> {
    if (this.#closed) return Promise.reject(new BrokerError('ZYQ_CLOSED', 'The connection was closed.'))
    this.#opening ??= this.#connect(this.#broker)
    return this.#opening
  }

  /** Opens the connection and declares the queues, each once until the connection is lost. */
  async declare(queues: readonly QueueSpec[]): Promise<void> {
    await this.open()
    await Promise.all(queues.map((queue) => this.#declare(queue)))
  }

  /** Converts an error of the broker to a `ZyQueueError`. If the connection is lost, the next call connects again. */
  wrap(error: unknown): ZyQueueError {
    const wrapped =
      error instanceof ZyQueueError
        ? error
        : new BrokerError(this.#broker.errorCode(error), `${this.#broker.name}: ${messageOf(error)}`, { cause: error })
    if (isConnectionLoss(wrapped)) this.#resetOpening()
    return wrapped
  }

  /** Replaces a stuck broker. Pending calls of the old one settle when it closes. */
  async replace(): Promise<void> {
    if (this.#closed) return
    const stuck = this.#broker
    this.#broker = this.#create()
    this.#resetOpening()
    await stuck.close()
  }

  /** Keeps the process alive until the broker has closed, because an adapter does not. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#broker.close().finally(keepAlive())
  }

  #create(): Broker {
    const { connection, baseDir } = this.address
    try {
      return this.#plugin.create({ ...this.#options, baseDir, ...(connection === undefined ? {} : { connection }) })
    } catch (error) {
      if (error instanceof ZyQueueError) throw error
      throw new BrokerError('ZYQ_BROKER', `${this.#plugin.name}: ${messageOf(error)}`, { cause: error })
    }
  }

  async #connect(broker: Broker): Promise<void> {
    try {
      await broker.connect()
      this.#everOpen = true
    } catch (error) {
      // The broker may have been replaced meanwhile.
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

/** Creates an unopened connection to the broker of a choice and the environment. Rejects with `ConfigError`. */
export async function createConnection(choice: BrokerChoice, options?: ConnectionOptions): Promise<Connection> {
  const { resolveFrom, baseDir } = resolution()
  const meant = withEnvironment(choice)
  const { plugin, url } = await findBroker(meant, resolveFrom)
  const { connection } = meant
  // A relative path in code is relative to the script; one in the environment, to the working directory.
  const base = choice.connection === undefined && connection !== undefined ? process.cwd() : baseDir
  return new Connection(plugin, { url, connection, baseDir: base }, options)
}

/**
 * Creates a connection from another process's address. Rejects with `ConfigError`, also if that broker was given in code.
 */
export async function connectionTo(address: ConnectionAddress): Promise<Connection> {
  if (address.url === undefined) {
    throw new ConfigError('ZYQ_CONFIG', 'The broker was given in code, so other processes cannot connect to it.')
  }
  const { plugin } = await findBroker({ server: address.url }, [address.baseDir])
  return new Connection(plugin, address)
}

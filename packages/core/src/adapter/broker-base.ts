import type { Consumer } from '../contract/consumer.ts'
import { BrokerError } from '../errors.ts'

/** `connect` and `close` of a broker. The adapter opens and closes one connection, which may be several sockets. */
export abstract class BrokerBase<Connection> {
  /** For errors: `The ${title} broker was closed`. */
  readonly #title: string
  readonly #consumers = new Set<Consumer>()
  readonly #end = new AbortController()
  #connection: Connection | undefined
  #opening: Promise<void> | undefined
  #closing: Promise<void> | undefined

  protected constructor(title: string) {
    this.#title = title
  }

  /** Makes one attempt. `close` aborts the signal. */
  protected abstract openConnection(signal: AbortSignal): Promise<Connection>
  protected abstract isOpen(connection: Connection): boolean
  /** Settles pending calls. Also called for a lost connection. */
  protected abstract closeConnection(connection: Connection): Promise<void>

  protected notConnected(_lost: Connection | undefined): BrokerError {
    return new BrokerError('ZYQ_CONNECTION_LOST', `The ${this.#title} broker is not connected`)
  }

  /** Throws `ZYQ_CLOSED`, or `ZYQ_CONNECTION_LOST` if it is not open. */
  protected get connection(): Connection {
    if (this.#closing !== undefined) throw this.#closed()
    if (this.#connection === undefined || !this.isOpen(this.#connection)) {
      throw this.notConnected(this.#connection)
    }
    return this.#connection
  }

  get consumers(): ReadonlySet<Consumer> {
    return this.#consumers
  }

  async connect(): Promise<void> {
    if (this.#closing !== undefined) throw this.#closed()
    if (this.#connection !== undefined && this.isOpen(this.#connection)) return
    this.#opening ??= this.#open().finally(() => (this.#opening = undefined))
    await this.#opening
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Closes the consumer with the broker, unless it calls `onClosed` before. */
  protected async addConsumer<Added extends Consumer>(open: (onClosed: () => void) => Promise<Added>): Promise<Added> {
    // A consumer that fails to open may close itself before it is added.
    const added: Added[] = []
    const consumer = await open(() => added.forEach((each) => this.#consumers.delete(each)))
    added.push(consumer)
    this.#consumers.add(consumer)
    if (this.#closing === undefined) return consumer
    await consumer.close()
    throw this.#closed()
  }

  async #open(): Promise<void> {
    const lost = this.#connection
    this.#connection = undefined
    if (lost !== undefined) await this.closeConnection(lost)
    const connection = await this.openConnection(this.#end.signal)
    if (this.#closing !== undefined) {
      await this.closeConnection(connection)
      throw this.#closed()
    }
    this.#connection = connection
  }

  async #close(): Promise<void> {
    await Promise.allSettled([...this.#consumers].map((consumer) => consumer.close()))
    this.#end.abort(this.#closed())
    await this.#opening?.catch(() => {})
    if (this.#connection !== undefined) await this.closeConnection(this.#connection)
  }

  #closed(): BrokerError {
    return new BrokerError('ZYQ_CLOSED', `The ${this.#title} broker was closed`)
  }
}

import { once } from 'node:events'
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'

/**
 * What the proxy does to the bytes between a client and its server:
 *
 * - `pass`: forwards them.
 * - `cut`: forwards the next chunk of a client and ends the connection before the answer.
 * - `truncate`: forwards the first half of the next chunk of a client and ends the connection.
 * - `stall`: keeps connections open, accepts new ones, and forwards nothing.
 * - `halfClose`: ends the server's side of each connection. The client can still send.
 * - `trickle`: forwards one byte at a time.
 * - `reset`: resets every connection, and every new one (RST).
 */
export type ProxyFault = 'pass' | 'cut' | 'truncate' | 'stall' | 'halfClose' | 'trickle' | 'reset'

interface ProxiedConnection {
  readonly client: Socket
  readonly server: Socket
}

/** A TCP proxy between clients and one server on loopback that breaks their connections on demand. */
export class FaultProxy implements AsyncDisposable {
  readonly #listener: Server
  readonly #target: number
  readonly #connections = new Set<ProxiedConnection>()
  #fault: ProxyFault = 'pass'
  #cutOnce: (() => void) | undefined

  /** Starts a proxy on a free loopback port for the server on the loopback port `target`. */
  static async start(target: number): Promise<FaultProxy> {
    const listener = createServer({ allowHalfOpen: true })
    const proxy = new FaultProxy(listener, target)
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    return proxy
  }

  private constructor(listener: Server, target: number) {
    this.#listener = listener
    this.#target = target
    listener.on('connection', (client) => this.#accept(client))
  }

  get port(): number {
    // The address of a TCP server is an object (net.Server.address).
    const address: AddressInfo | string | null = this.#listener.address()
    if (address === null || typeof address === 'string') throw new Error('The proxy is closed and has no port.')
    return address.port
  }

  /** The number of open connections. */
  get connections(): number {
    return this.#connections.size
  }

  get fault(): ProxyFault {
    return this.#fault
  }

  /** Sets the fault of all present and new connections. Stalled bytes pass when a stall ends. Ended connections stay ended. */
  set fault(fault: ProxyFault) {
    this.#fault = fault
    this.#cutOnce?.()
    this.#cutOnce = undefined
    for (const connection of this.#connections) {
      if (fault === 'reset') reset(connection)
      else if (fault === 'halfClose') connection.client.end()
      else if (fault === 'stall') pause(connection)
      else resume(connection)
    }
  }

  /**
   * As `cut`, but only for the first connection on which a client sends. Resolves after that connection has ended or another
   * fault was set. Everything passes afterwards.
   */
  cutOnce(): Promise<void> {
    this.fault = 'pass'
    return new Promise((resolve) => {
      this.#cutOnce = resolve
    })
  }

  /** Closes the proxy and every connection. */
  async close(): Promise<void> {
    for (const connection of this.#connections) destroy(connection)
    if (!this.#listener.listening) return
    this.#listener.close()
    await once(this.#listener, 'close')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #accept(client: Socket): void {
    if (this.#fault === 'reset') return void client.resetAndDestroy()
    const server = createConnection({ host: '127.0.0.1', port: this.#target, allowHalfOpen: true })
    const connection = { client, server }
    this.#connections.add(connection)
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.setNoDelay(true)
      // Chunks are forwarded in order, so that later chunks do not overtake trickling bytes.
      let forwarded = Promise.resolve()
      from.on('data', (chunk: Buffer) => {
        forwarded = forwarded.then(() => this.#forward(connection, from, to, chunk))
      })
      from.on('end', () => void forwarded.then(() => to.end()))
      // The end of one side ends the other.
      from.on('error', () => destroy(connection))
      from.on('close', () => {
        this.#connections.delete(connection)
        destroy(connection)
      })
    }
    if (this.#fault === 'stall') pause(connection)
    if (this.#fault === 'halfClose') client.end()
  }

  async #forward(connection: ProxiedConnection, from: Socket, to: Socket, chunk: Buffer): Promise<void> {
    const isRequest = from === connection.client
    // Drop the bytes of a connection that is being cut.
    if (!this.#connections.has(connection)) return
    if (isRequest && this.#cutOnce !== undefined) {
      const ended = this.#cutOnce
      this.#cutOnce = undefined
      this.#connections.delete(connection)
      to.write(chunk, () => {
        destroy(connection)
        ended()
      })
    } else if (isRequest && this.#fault === 'cut') to.write(chunk, () => destroy(connection))
    else if (isRequest && this.#fault === 'truncate') {
      to.write(chunk.subarray(0, Math.ceil(chunk.length / 2)), () => destroy(connection))
    } else if (this.#fault === 'trickle') {
      from.pause()
      for (const byte of chunk) {
        to.write(Buffer.of(byte))
        // Let the other end read each byte separately.
        await setImmediate()
      }
      this.#resumeUnlessStalled(from)
    } else if (to.writable && !to.write(chunk)) {
      from.pause()
      to.once('drain', () => this.#resumeUnlessStalled(from))
    }
  }

  #resumeUnlessStalled(from: Socket): void {
    if (this.#fault !== 'stall') from.resume()
  }
}

function pause({ client, server }: ProxiedConnection): void {
  client.pause()
  server.pause()
}

function resume({ client, server }: ProxiedConnection): void {
  client.resume()
  server.resume()
}

function reset({ client, server }: ProxiedConnection): void {
  client.resetAndDestroy()
  server.destroy()
}

function destroy({ client, server }: ProxiedConnection): void {
  client.destroy()
  server.destroy()
}

import { once } from 'node:events'
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'

/**
 * What the proxy does to the bytes between a client and its server, from now on:
 *
 * - `pass`: nothing.
 * - `cut`: what a client sends next is forwarded, and the connection ends before the answer comes back.
 * - `truncate`: of what a client sends next, the first half is forwarded, and the connection ends.
 * - `stall`: connections stay and new ones are accepted, and nothing is forwarded, either way.
 * - `halfClose`: the server's side of each connection ends for the client, which may go on sending.
 * - `trickle`: one byte at a time.
 * - `reset`: every connection, and every new one, is reset (RST).
 */
export type ProxyFault = 'pass' | 'cut' | 'truncate' | 'stall' | 'halfClose' | 'trickle' | 'reset'

interface Link {
  readonly client: Socket
  readonly server: Socket
}

/** Stands between clients and one server on loopback, and breaks what goes through as it is told. */
export class FaultProxy implements AsyncDisposable {
  readonly #listener: Server
  readonly #target: number
  readonly #links = new Set<Link>()
  #fault: ProxyFault = 'pass'
  #cutOnce: (() => void) | undefined

  /** Listens on a free loopback port, before the server on the loopback port `target`. */
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
    // A server on a TCP port has an address of this kind (net.Server.address).
    const address: AddressInfo | string | null = this.#listener.address()
    if (address === null || typeof address === 'string') throw new Error('The proxy is closed.')
    return address.port
  }

  /** Connections that go through it now. */
  get connections(): number {
    return this.#links.size
  }

  get fault(): ProxyFault {
    return this.#fault
  }

  /** From now on. What was stalled goes through when it is over; what was cut stays so. */
  set fault(fault: ProxyFault) {
    this.#fault = fault
    this.#cutOnce?.()
    this.#cutOnce = undefined
    for (const link of this.#links) {
      if (fault === 'reset') reset(link)
      else if (fault === 'halfClose') link.client.end()
      else if (fault === 'stall') pause(link)
      else resume(link)
    }
  }

  /**
   * As `cut`, for the first connection by which a client sends something. Resolves when that has ended, or another fault
   * was set; everything passes from then on.
   */
  cutOnce(): Promise<void> {
    this.fault = 'pass'
    return new Promise((resolve) => {
      this.#cutOnce = resolve
    })
  }

  /** Ends it, and every connection. */
  async close(): Promise<void> {
    for (const link of this.#links) destroy(link)
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
    const link = { client, server }
    this.#links.add(link)
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.setNoDelay(true)
      // One after the other: what trickles is not overtaken by what comes when that is over.
      let forwarded = Promise.resolve()
      from.on('data', (chunk: Buffer) => {
        forwarded = forwarded.then(() => this.#forward(link, from, to, chunk))
      })
      from.on('end', () => void forwarded.then(() => to.end()))
      // Whatever ends one side ends the other; why, its user sees.
      from.on('error', () => destroy(link))
      from.on('close', () => {
        this.#links.delete(link)
        destroy(link)
      })
    }
    if (this.#fault === 'stall') pause(link)
    if (this.#fault === 'halfClose') client.end()
  }

  async #forward(link: Link, from: Socket, to: Socket, chunk: Buffer): Promise<void> {
    const isRequest = from === link.client
    // What a connection that is being cut sends or gets after that.
    if (!this.#links.has(link)) return
    if (isRequest && this.#cutOnce !== undefined) {
      const ended = this.#cutOnce
      this.#cutOnce = undefined
      this.#links.delete(link)
      to.write(chunk, () => {
        destroy(link)
        ended()
      })
    } else if (isRequest && this.#fault === 'cut') to.write(chunk, () => destroy(link))
    else if (isRequest && this.#fault === 'truncate') {
      to.write(chunk.subarray(0, Math.ceil(chunk.length / 2)), () => destroy(link))
    } else if (this.#fault === 'trickle') {
      from.pause()
      for (const byte of chunk) {
        to.write(Buffer.of(byte))
        // The other end shall have a chance to read each by itself.
        await setImmediate()
      }
      this.#flowAgain(from)
    } else if (to.writable && !to.write(chunk)) {
      from.pause()
      to.once('drain', () => this.#flowAgain(from))
    }
  }

  #flowAgain(from: Socket): void {
    if (this.#fault !== 'stall') from.resume()
  }
}

function pause({ client, server }: Link): void {
  client.pause()
  server.pause()
}

function resume({ client, server }: Link): void {
  client.resume()
  server.resume()
}

function reset({ client, server }: Link): void {
  client.resetAndDestroy()
  server.destroy()
}

function destroy({ client, server }: Link): void {
  client.destroy()
  server.destroy()
}

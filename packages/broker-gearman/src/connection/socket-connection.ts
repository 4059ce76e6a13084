import { createConnection, type Socket } from 'node:net'
import { startTimeout, Watchdog, type BrokerError } from '@zyqueue/core/broker'
import { closed, connectionLost, unreachable } from '../errors.ts'
import { formatAddress, type Address } from '../options.ts'

/** How long a server may take to accept a connection. */
const CONNECT_TIMEOUT_MS = 5_000
/** How often an open connection is checked for a sign of life. */
const TURN_MS = 1_000

/** Opens a TCP connection that does not keep the process alive. Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
export function openSocket(address: Address, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ ...address, noDelay: true, keepAlive: true }).unref()
    const settle = (outcome: () => void): void => {
      stopTimeout()
      signal.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
      socket.off('error', onError)
      outcome()
    }
    const fail = (error: unknown): void =>
      settle(() => {
        // A destroyed socket may emit an error later.
        socket.on('error', () => {})
        socket.destroy()
        reject(error)
      })
    // Node makes one handle for each address of a name, and each must be unref'd.
    const onConnect = (): void => settle(() => resolve(socket.unref()))
    const onError = (error: Error): void => fail(unreachable(formatAddress(address), error))
    const onAbort = (): void => fail(signal.reason)
    const stopTimeout = startTimeout(CONNECT_TIMEOUT_MS, () => onError(new Error('no answer')))
    socket.on('connect', onConnect)
    socket.on('error', onError)
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
  })
}

/**
 * A socket that ends once, for one reason: when the signal is aborted, when it breaks, or if the server owes an answer and is
 * silent.
 */
export abstract class SocketConnection {
  /** The server's host and port. */
  readonly location: string
  protected readonly socket: Socket
  readonly #watchdog: Watchdog
  readonly #signal: AbortSignal
  readonly #onAbort = (): void => this.close()
  #ended: BrokerError | undefined

  protected constructor(socket: Socket, address: Address, signal: AbortSignal, maxSilentTurns: number) {
    this.location = formatAddress(address)
    this.socket = socket
    this.#signal = signal
    this.#watchdog = new Watchdog({
      turnMs: TURN_MS,
      maxSilentTurns: () => maxSilentTurns,
      progress: () => socket.bytesRead,
      isExpecting: () => this.isExpecting(),
      onSilentTurn: (turns) => this.onSilentTurn(turns),
      onSilence: () => this.end(connectionLost(this.location, new Error('it does not answer'))),
    })
    socket.on('data', (chunk: Buffer) => this.read(chunk))
    socket.on('error', (error) => this.end(connectionLost(this.location, error)))
    socket.on('close', () => this.end(connectionLost(this.location)))
    signal.addEventListener('abort', this.#onAbort)
    if (signal.aborted) queueMicrotask(this.#onAbort)
  }

  protected abstract read(chunk: Buffer): void
  /** Whether the server owes an answer. */
  protected abstract isExpecting(): boolean
  /** Called once, when the connection has ended. */
  protected abstract onEnd(error: BrokerError): void
  protected onSilentTurn(_turns: number): void {}

  get isOpen(): boolean {
    return this.#ended === undefined
  }

  /** Why the connection has ended. */
  protected get ended(): BrokerError | undefined {
    return this.#ended
  }

  /** Throws `ZYQ_CONNECTION_LOST` or `ZYQ_CLOSED` if the connection has ended. */
  assertOpen(): void {
    if (this.#ended !== undefined) throw this.#ended
  }

  /** Ends the connection at once. */
  close(): void {
    this.end(closed())
  }

  protected end(error: BrokerError): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#watchdog.stop()
    this.#signal.removeEventListener('abort', this.#onAbort)
    this.socket.destroy()
    this.onEnd(error)
  }
}

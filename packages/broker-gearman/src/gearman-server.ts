import { BrokerError } from '@zyqueue/core/broker'
import { PacketConnection } from './connection/packet-connection.ts'
import { TextConnection } from './connection/text-connection.ts'
import { connectionLost } from './errors.ts'
import type { Submission } from './message.ts'
import { formatAddress, type Address } from './options.ts'
import { PublishConnection } from './publish/publish-connection.ts'

/** Bounds of the time between two attempts to reach a server. It doubles with each failure. */
const MIN_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5_000

/** A random time below the bound for this number of failures in a row, in ms. */
export function backoffMs(failures: number): number {
  return Math.random() * Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(failures, 10))
}

/** One of the servers of a broker, and the connection that submits jobs to it. */
export class GearmanServer {
  readonly address: Address
  readonly name: string
  /** Aborted when the broker is closed. */
  readonly signal: AbortSignal
  /** Called with the function and the slot of each job that this process delays on the server. */
  readonly delayListeners: Set<(functionName: string, atMs: number) => void> = new Set()
  #publisher: PublishConnection | undefined
  #opening: Promise<void> | undefined
  #failures = 0
  #retryAt = 0

  constructor(address: Address, signal: AbortSignal) {
    this.address = address
    this.name = formatAddress(address)
    this.signal = signal
  }

  /** Whether the connection that submits jobs is open. */
  get isConnected(): boolean {
    return this.#publisher?.isOpen === true
  }

  /** The last connection that was opened. Throws `ZYQ_CONNECTION_LOST` if there was none. */
  get publisher(): PublishConnection {
    if (this.#publisher === undefined) throw connectionLost(this.name)
    return this.#publisher
  }

  /** Opens that connection. Concurrent calls share one attempt. Rejects with `ZYQ_UNREACHABLE` or `ZYQ_CLOSED`. */
  async connect(): Promise<void> {
    if (this.isConnected) return
    this.#opening ??= this.#open().finally(() => (this.#opening = undefined))
    await this.#opening
  }

  /** Connects again if the connection is lost and the backoff is over. */
  reconnect(): void {
    if (!this.isConnected && performance.now() >= this.#retryAt) this.connect().catch(() => {})
  }

  /** Opens a connection for text commands, and closes it when `work` has settled. */
  async command<Result>(work: (text: TextConnection) => Promise<Result>): Promise<Result> {
    const text = await TextConnection.open(this.address, this.signal)
    try {
      return await work(text)
    } finally {
      text.close()
    }
  }

  /** Tells the consumers of this process that the job of a packet was stored, if it is delayed. */
  expectDelayed({ functionName, atMs }: Submission): void {
    if (atMs !== undefined) for (const listener of this.delayListeners) listener(functionName, atMs)
  }

  async #open(): Promise<void> {
    // A job that has not begun need not run for a caller that has gone. A running job is left alone.
    const onAbandoned = (handle: string): void => {
      this.command((text) => text.command(`cancel job ${handle}`)).catch(() => {})
    }
    try {
      this.#publisher = new PublishConnection(await PacketConnection.open(this.address, this.signal), onAbandoned)
      this.#failures = 0
    } catch (error) {
      this.#retryAt = performance.now() + backoffMs(this.#failures++)
      throw error
    }
  }
}

/** The answers of the servers that answer. Rejects with the error of the first if none does. */
export async function askServers<Result>(
  servers: readonly GearmanServer[],
  ask: (server: GearmanServer) => Promise<Result>,
): Promise<readonly Result[]> {
  const outcomes = await Promise.allSettled(servers.map(ask))
  const answers = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  if (answers.length > 0) return answers
  const [first] = outcomes
  throw first?.status === 'rejected' ? first.reason : new BrokerError('ZYQ_UNREACHABLE', 'There is no Gearman server')
}

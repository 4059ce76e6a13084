import { setMaxListeners } from 'node:events'
import { BrokerError, type CallOptions, type CallResult } from '@zyqueue/core/broker'
import { Calls } from '../publish/calls.ts'
import { PacketConnection } from './packet-connection.ts'
import { closed, connectionLost } from '../errors.ts'
import { nameOf, type Address } from '../options.ts'
import type { Submission } from '../publish/publish.ts'
import { TextConnection } from './text-connection.ts'

/** How long a server that is away is left alone, in ms: doubled for each try, with jitter. */
const MIN_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5_000

/** Between 0 and what the number of failures in a row allows, in ms. */
export function backoffMs(failures: number): number {
  return Math.random() * Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(failures, 10))
}

/** One of the servers that a broker may use, and the connection that its jobs are submitted on. */
export class GearmanServer {
  readonly address: Address
  readonly name: string
  readonly #end = new AbortController()
  #client: { readonly connection: PacketConnection; readonly calls: Calls } | undefined
  #opening: Promise<PacketConnection> | undefined
  #failures = 0
  #retryAt = 0

  constructor(address: Address) {
    this.address = address
    this.name = nameOf(address)
    // One for each connection that is being opened or asked.
    setMaxListeners(0, this.#end.signal)
  }

  /** Aborted when the broker is closed. */
  get signal(): AbortSignal {
    return this.#end.signal
  }

  /** The connection that jobs are submitted on, where it is open. */
  get client(): PacketConnection | undefined {
    return this.#client?.connection.ended === false ? this.#client.connection : undefined
  }

  /** Opens that connection; one attempt, shared by all who wait. Rejects with `ZYQ_UNREACHABLE` or `ZYQ_CLOSED`. */
  connect(): Promise<PacketConnection> {
    const { client } = this
    if (client !== undefined) return Promise.resolve(client)
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  /**
   * Submits a job and waits for its end. Rejects with the signal's reason where that is first, and where there is no connection:
   * nothing was sent then.
   */
  call(submission: Submission, { signal, onNews }: CallOptions): Promise<CallResult> {
    if (this.#client === undefined) return Promise.reject(connectionLost(this.name))
    const { connection, calls } = this.#client
    // What nobody waits for need not run; where it runs already, it is left alone.
    const onAbandoned = (handle: string): void => {
      this.command((text) => text.command(`cancel job ${handle}`)).catch(() => {})
    }
    return calls.call(connection, submission, { signal, onNews, onAbandoned })
  }

  /** Tries it again where it is away and was left alone for long enough. */
  rejoin(): void {
    if (this.client === undefined && performance.now() >= this.#retryAt) this.connect().catch(() => {})
  }

  /** Works on a connection for commands that is closed afterwards. */
  async command<Result>(work: (text: TextConnection) => Promise<Result>): Promise<Result> {
    const text = await TextConnection.open(this.address, this.signal)
    const onAbort = (): void => text.close()
    this.signal.addEventListener('abort', onAbort)
    try {
      return await work(text)
    } finally {
      this.signal.removeEventListener('abort', onAbort)
      text.close()
    }
  }

  close(): void {
    this.#end.abort(closed())
    this.#client?.connection.close()
  }

  async #open(): Promise<PacketConnection> {
    if (this.signal.aborted) throw closed()
    try {
      const calls = new Calls()
      const connection = await PacketConnection.open(this.address, this.signal)
      connection.listen({ onPacket: (packet) => calls.take(packet), onEnd: (error) => calls.end(error) })
      this.#failures = 0
      this.#client = { connection, calls }
      return connection
    } catch (error) {
      this.#retryAt = performance.now() + backoffMs(this.#failures++)
      throw error
    }
  }
}

/** What all are asked, and those that answer say. Rejects as the first does where none answers. */
export async function askAll<Result>(
  servers: readonly GearmanServer[],
  ask: (server: GearmanServer) => Promise<Result>,
): Promise<readonly Result[]> {
  const outcomes = await Promise.allSettled(servers.map(ask))
  const answers = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  if (answers.length > 0) return answers
  const [first] = outcomes
  throw first?.status === 'rejected' ? first.reason : new BrokerError('ZYQ_UNREACHABLE', 'There is no Gearman server')
}

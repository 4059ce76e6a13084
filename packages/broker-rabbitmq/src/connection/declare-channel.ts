import { randomUUID } from 'node:crypto'
import type { Channel } from 'amqplib'
import type { AmqpConnection } from './amqp-connection.ts'
import { forgetsNewQueues, hasQuorumPriorities } from './versions.ts'

/** The server deletes the queue after this time if its creator could not. */
const NEXT_EXPIRES_MS = 60_000

/**
 * A channel for declarations and passive declarations, one at a time: the server closes a channel with each refusal, which
 * must not affect other calls.
 */
export class DeclareChannel {
  readonly #connection: AmqpConnection
  #channel: Channel | undefined
  /** The last work of each kind, by its name. `run` uses the empty name. */
  readonly #last = new Map<string, Promise<unknown>>()

  constructor(connection: AmqpConnection) {
    this.#connection = connection
  }

  run<Result>(work: (channel: Channel) => Promise<Result>): Promise<Result> {
    return this.inTurn('', () => this.#run(work))
  }

  /** Runs work when earlier work with the same name has ended. */
  inTurn<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#last.get(name) ?? Promise.resolve()
    const result = before.then(work)
    this.#last.set(
      name,
      result.catch(() => undefined),
    )
    return result
  }

  /** Whether the server may lose a quorum queue that `run` declared a second ago. */
  get forgetsNewQueues(): boolean {
    return forgetsNewQueues(this.#connection.version)
  }

  get knowsQuorumPriorities(): boolean {
    return hasQuorumPriorities(this.#connection.version)
  }

  /**
   * For work that may create quorum queues: they survive a SIGKILL when this resolves. Before 3.13.6 the server stores the place
   * of a new queue a second later, or when the next one is created (Ra's `names.dets`). If it is killed before, it restarts
   * with an empty queue of that name that never has a leader. For this reason a next one is created here.
   */
  async make(work: (channel: Channel) => Promise<void>): Promise<void> {
    await this.run(work)
    if (!this.forgetsNewQueues) return
    const next = `zyqueue.next.${randomUUID()}`
    const options = { durable: true, arguments: { 'x-queue-type': 'quorum', 'x-expires': NEXT_EXPIRES_MS } }
    await this.run(async (channel) => {
      await channel.assertQueue(next, options)
      await channel.deleteQueue(next)
    })
  }

  /** Closes the channel. Never rejects. */
  async close(): Promise<void> {
    await this.#last.get('')
    const channel = this.#channel
    this.#channel = undefined
    if (channel !== undefined) await this.#connection.ask(() => channel.close()).catch(() => undefined)
  }

  async #run<Result>(work: (channel: Channel) => Promise<Result>): Promise<Result> {
    const channel = (this.#channel ??= await this.#connection.channel())
    try {
      return await this.#connection.ask(() => work(channel))
    } catch (error) {
      this.#channel = undefined
      channel.close().catch(() => undefined)
      throw error
    }
  }
}

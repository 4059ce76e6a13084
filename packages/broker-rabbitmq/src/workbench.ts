import { randomUUID } from 'node:crypto'
import type { Channel } from 'amqplib'
import type { Link } from './link.ts'
import { forgetsNewQueues } from './versions.ts'

/** Where its maker died before it could delete it. */
const NEXT_EXPIRES_MS = 60_000

/**
 * A channel for questions and declarations, one piece of work at a time: the server closes a channel over every refusal,
 * and nobody else's work is to go with it.
 */
export class Workbench {
  readonly #link: Link
  #channel: Channel | undefined
  #before: Promise<unknown> = Promise.resolve()

  constructor(link: Link) {
    this.#link = link
  }

  run<Result>(work: (channel: Channel) => Promise<Result>): Promise<Result> {
    const result = this.#before.then(() => this.#run(work))
    this.#before = result.catch(() => undefined)
    return result
  }

  /** Whether queues that are made by `run` may be lost for a second. */
  get forgetsNewQueues(): boolean {
    return forgetsNewQueues(this.#link.version)
  }

  /**
   * For work that may make quorum queues: they outlive a SIGKILL when this resolves. Before 3.13.6 the server has where a new
   * one lies on its disk only a second later, or when it makes the next one (Ra's `names.dets`, a table that is written behind):
   * killed before, it comes back with an empty queue of that name, which never has a leader. So it makes the next one.
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

  /** Gives its channel back. Never rejects. */
  async close(): Promise<void> {
    await this.#before
    const channel = this.#channel
    this.#channel = undefined
    if (channel !== undefined) await this.#link.ask(() => channel.close()).catch(() => undefined)
  }

  async #run<Result>(work: (channel: Channel) => Promise<Result>): Promise<Result> {
    const channel = (this.#channel ??= await this.#link.channel())
    try {
      return await this.#link.ask(() => work(channel))
    } catch (error) {
      this.#channel = undefined
      channel.close().catch(() => undefined)
      throw error
    }
  }
}

import type { DeadLetter, DeadLetters } from '@zyqueue/core/broker'
import type { Argument } from '../connection/client.ts'
import type { QueueKeys } from '../keys.ts'
import { readMessage } from '../message.ts'
import { bytes, chunks, integer, list, text, type Reply } from '../connection/replies.ts'
import { listDeadLetters, purgeDeadLetters, requeueDeadLetters } from '../scripts/admin.ts'
import type { Servers } from '../connection/servers.ts'

/** The maximum number of dead letters for one script. Workers run their scripts between two such scripts. */
const LETTERS_PER_SCRIPT = 1000

export class RedisDeadLetters implements DeadLetters {
  readonly #servers: Servers
  readonly #find: (queue: string) => Promise<QueueKeys>

  /** `find` resolves to the keys of a queue, and rejects if the queue does not exist. */
  constructor(servers: Servers, find: (queue: string) => Promise<QueueKeys>) {
    this.#servers = servers
    this.#find = find
  }

  async list(queue: string, { limit }: { readonly limit: number }): Promise<readonly DeadLetter[]> {
    const { dead, died } = await this.#find(queue)
    if (limit <= 0) return []
    const reply = chunks(list(await this.#servers.run(listDeadLetters, [dead, died], [limit])), 3)
    return reply.flatMap(([field, diedAtUs, letter]) => {
      const diedAtMs = Math.floor(Number(text(diedAtUs)) / 1000)
      return bytes(letter).length > 0 ? [{ ...readLetter(text(field), bytes(letter)), queue, diedAtMs }] : []
    })
  }

  async requeue(queue: string, ids?: readonly string[]): Promise<number> {
    const { dead, died, ready, sorted, order, waiters, leases } = await this.#find(queue)
    const keys = [dead, died, ready, sorted, order, waiters, leases]
    return this.#inPortions(died, ids, (choice) =>
      this.#servers.run(requeueDeadLetters, keys, [this.#servers.keys.wake, ...choice]),
    )
  }

  async purge(queue: string, ids?: readonly string[]): Promise<number> {
    const { dead, died } = await this.#find(queue)
    return this.#inPortions(died, ids, (choice) => this.#servers.run(purgeDeadLetters, [dead, died], choice))
  }

  async #inPortions(
    died: string,
    ids: readonly string[] | undefined,
    take: (choice: readonly Argument[]) => Promise<Reply>,
  ): Promise<number> {
    let total = 0
    if (ids !== undefined) {
      for (const some of chunks([...new Set(ids)], LETTERS_PER_SCRIPT)) total += integer(await take(['these', ...some]))
      return total
    }
    // Jobs that die during this loop are newer than these, and stay.
    let left = integer(await this.#servers.command('ZCARD', died))
    while (left > 0) {
      const taken = integer(await take(['oldest', Math.min(left, LETTERS_PER_SCRIPT)]))
      if (taken === 0) break
      left -= taken
      total += taken
    }
    return total
  }
}

/** If another program wrote the dead letter or its job, the result has the bytes as body and the field's name as id. */
function readLetter(field: string, letter: Buffer): Pick<DeadLetter, 'id' | 'reason' | 'headers' | 'body'> {
  const reasonEnd = letter.length < 4 || letter[0] !== 0 ? Infinity : 4 + letter.readUIntBE(1, 3)
  if (reasonEnd > letter.length) {
    const reason = 'ZYQ_DECODE: The dead letter cannot be read: another program or a newer version wrote it.'
    return { id: field, reason, headers: {}, body: letter }
  }
  const reason = letter.toString('utf8', 4, reasonEnd)
  const message = readMessage(letter.subarray(reasonEnd))
  if (message === undefined) return { id: field, reason, headers: {}, body: letter.subarray(reasonEnd) }
  return { id: message.id, reason, headers: message.headers, body: message.body }
}

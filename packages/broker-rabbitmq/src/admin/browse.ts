import type { Channel, ConsumeMessage, Message } from 'amqplib'
import { BrokerError } from '@zyqueue/core/broker'
import { REPLY, replyCode } from '../errors.ts'
import { ANSWER_TIMEOUT_MS, type AmqpConnection } from '../connection/amqp-connection.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DeclareChannel } from '../connection/declare-channel.ts'
import { countsOf, mayHaveReady } from '../topology.ts'

/** If no message comes for this time, the queue is asked whether it has more. */
const SILENCE_MS = 100
/** Messages that are not back after this time were taken by other consumers, or have expired. */
const BACK_MS = 1_500
const BACK_PAUSE_MS = 5
const LONGEST_RUN = 30
/** A prefetch has 16 bits. 0 is no limit. */
const MAX_PREFETCH = 65_535
const CONSUMER_TAG = 'zyqueue.takeAndReturn'
const LOCK_TRIES = 100
const LOCK_PAUSE_MS = 50

/** What to do with a message. */
export type Decision = 'keep' | 'delete'

/**
 * Takes at most `limit` ready messages of a queue, the oldest first, deletes some of them and returns the others to their places.
 * AMQP has no other way to read a queue. Other consumers do not see the messages meanwhile. If this process dies, all of them
 * return. Resolves to their number.
 */
export async function takeAndReturn(
  { connection, declareChannel }: { readonly connection: AmqpConnection; readonly declareChannel: DeclareChannel },
  queue: string,
  limit: number,
  decide: (messages: readonly Message[]) => Promise<readonly Decision[]>,
): Promise<number> {
  const ready = (await countsOf(declareChannel, queue))?.messageCount ?? 0
  const count = Math.min(ready, limit)
  if (count === 0) return 0
  const channel = await connection.channel()
  try {
    const messages = await take(channel, { connection, declareChannel }, queue, count)
    const decisions = await decide(messages)
    await connection.ask(() => channel.cancel(CONSUMER_TAG))
    settle(channel, messages, decisions)
    // A quorum queue forgets commands that it has not stored when the channel closes.
    await untilBack(declareChannel, queue, ready - decisions.filter((decision) => decision === 'delete').length)
    await connection.ask(() => channel.close())
    return messages.length
  } finally {
    // If this fails, unacked messages return.
    channel.close().catch(() => undefined)
  }
}

/** In runs of at most 30: a quorum queue changes the order of more than 32 messages that return together. */
function settle(channel: Channel, messages: readonly Message[], decisions: readonly (Decision | undefined)[]): void {
  let length = 0
  for (const [index, message] of messages.entries()) {
    const isGone = decisions[index] === 'delete'
    const isLast = index + 1 === messages.length || (decisions[index + 1] === 'delete') !== isGone
    if (++length < LONGEST_RUN && !isLast) continue
    if (isGone) channel.ack(message, true)
    else channel.nack(message, true, true)
    length = 0
  }
}

/** The next reader must find the messages. */
async function untilBack(declareChannel: DeclareChannel, queue: string, count: number): Promise<void> {
  const until = performance.now() + BACK_MS
  while (performance.now() < until) {
    if (((await countsOf(declareChannel, queue))?.messageCount ?? count) >= count) return
    await delay(BACK_PAUSE_MS)
  }
}

/** Fewer than `count` if other consumers took some, or some expired. */
async function take(
  channel: Channel,
  { connection, declareChannel }: { readonly connection: AmqpConnection; readonly declareChannel: DeclareChannel },
  queue: string,
  count: number,
): Promise<readonly Message[]> {
  const messages: Message[] = []
  let complete = (): void => {}
  const all = new Promise<void>((resolve) => {
    complete = resolve
  })
  const onMessage = (message: ConsumeMessage | null): void => {
    // Messages that came after the count return unseen.
    if (message === null || messages.length === count) return
    messages.push(message)
    if (messages.length === count) complete()
  }
  await connection.ask(async () => {
    await channel.prefetch(count > MAX_PREFETCH ? 0 : count)
    await channel.consume(queue, onMessage, { consumerTag: CONSUMER_TAG })
  })
  for (let cameAt = performance.now(); performance.now() - cameAt < ANSWER_TIMEOUT_MS;) {
    const before = messages.length
    await Promise.race([all, delay(SILENCE_MS)])
    if (messages.length === count) break
    const hasMore = await mayHaveReady(declareChannel, queue)
    // Messages that the server sent before have arrived when it answers.
    await connection.ask(() => channel.prefetch(1))
    if (messages.length > before) cameAt = performance.now()
    else if (!hasMore) break
  }
  return messages
}

/**
 * Runs work under a lock of all processes that ends with this connection: two readers of one queue would each see a part.
 * Rejects with `ZYQ_BROKER_BUSY` if another process holds the lock for seconds.
 */
export function exclusively<Result>(
  declareChannel: DeclareChannel,
  what: string,
  work: () => Promise<Result>,
): Promise<Result> {
  // The server does not tell apart callers of one connection.
  return declareChannel.inTurn(what, async () => {
    const lock = await takeLock(declareChannel, what)
    try {
      return await work()
    } finally {
      await declareChannel.run((channel) => channel.deleteQueue(lock)).catch(() => undefined)
    }
  })
}

async function takeLock(declareChannel: DeclareChannel, what: string): Promise<string> {
  const lock = `zyqueue.lock.${what}`.slice(0, 200)
  for (let tries = 0; ; tries++) {
    try {
      await declareChannel.run((channel) => channel.assertQueue(lock, { exclusive: true, durable: false }))
      return lock
    } catch (error) {
      if (replyCode(error) !== REPLY.RESOURCE_LOCKED) throw error
      if (tries === LOCK_TRIES) {
        throw new BrokerError('ZYQ_BROKER_BUSY', `Another administrator reads ${what}`, { cause: error })
      }
      await delay(LOCK_PAUSE_MS)
    }
  }
}

function delay(ms: number): Promise<void> {
  return sleep(ms, undefined, { ref: false })
}

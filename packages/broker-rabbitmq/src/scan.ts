import type { Channel, ConsumeMessage, Message } from 'amqplib'
import { BrokerError } from '@zyqueue/core/broker'
import { REPLY, replyCode } from './errors.ts'
import type { Link } from './link.ts'
import { PATIENCE_MS, pause } from './patience.ts'
import type { Workbench } from './workbench.ts'
import { countsOf, mayHaveReady } from './topology.ts'

/** When nothing has come for so long, the queue is asked whether it has more. */
const SILENCE_MS = 100
/** Messages whose return is not seen after so long were taken by others, or their time was over. */
const BACK_MS = 1_500
const BACK_PAUSE_MS = 5
const LONGEST_RUN = 30
const CONSUMER_TAG = 'zyqueue.scan'
const LOCK_TRIES = 100
const LOCK_PAUSE_MS = 50

/** What becomes of a message that was looked at. */
export type Verdict = 'keep' | 'delete'

/**
 * Looks at the ready messages of a queue, the oldest first, at most `limit`, and deletes those that `judge` says; the
 * rest goes back to where it stood. AMQP has no other way to look: for that time nobody else sees them. Should this
 * process die, all go back. Resolves to how many there were.
 */
export async function scan(
  { link, workbench }: { readonly link: Link; readonly workbench: Workbench },
  queue: string,
  limit: number,
  judge: (messages: readonly Message[]) => Promise<readonly Verdict[]>,
): Promise<number> {
  const ready = (await countsOf(workbench, queue))?.messageCount ?? 0
  const count = Math.min(ready, limit)
  if (count === 0) return 0
  const channel = await link.channel()
  try {
    const messages = await take(channel, { link, workbench }, queue, count)
    const verdicts = await judge(messages)
    await link.ask(() => channel.cancel(CONSUMER_TAG))
    settle(channel, messages, verdicts)
    // A quorum queue takes its time over many commands, and what it has not taken when the channel is closed is void.
    await untilBack(workbench, queue, ready - verdicts.filter((verdict) => verdict === 'delete').length)
    await link.ask(() => channel.close())
    return messages.length
  } finally {
    // Nothing is lost where that fails: what is not acknowledged goes back.
    channel.close().catch(() => undefined)
  }
}

/** In order, and in runs: of more than 32 that it gets back together, a quorum queue mixes up the order. */
function settle(channel: Channel, messages: readonly Message[], verdicts: readonly (Verdict | undefined)[]): void {
  let length = 0
  for (const [index, message] of messages.entries()) {
    const isGone = verdicts[index] === 'delete'
    const isLast = index + 1 === messages.length || (verdicts[index + 1] === 'delete') !== isGone
    if (++length < LONGEST_RUN && !isLast) continue
    if (isGone) channel.ack(message, true)
    else channel.nack(message, true, true)
    length = 0
  }
}

/** Who looks next is to find them. */
async function untilBack(workbench: Workbench, queue: string, count: number): Promise<void> {
  const until = performance.now() + BACK_MS
  while (performance.now() < until) {
    if (((await countsOf(workbench, queue))?.messageCount ?? count) >= count) return
    await pause(BACK_PAUSE_MS)
  }
}

/** Fewer where others have taken some, or the time of some was over. */
async function take(
  channel: Channel,
  { link, workbench }: { readonly link: Link; readonly workbench: Workbench },
  queue: string,
  count: number,
): Promise<readonly Message[]> {
  const messages: Message[] = []
  let complete = (): void => {}
  const all = new Promise<void>((resolve) => {
    complete = resolve
  })
  const onMessage = (message: ConsumeMessage | null): void => {
    // More may have come between the count and now: they go back unseen.
    if (message === null || messages.length === count) return
    messages.push(message)
    if (messages.length === count) complete()
  }
  await link.ask(async () => {
    await channel.prefetch(count)
    await channel.consume(queue, onMessage, { consumerTag: CONSUMER_TAG })
  })
  for (let cameAt = performance.now(); performance.now() - cameAt < PATIENCE_MS;) {
    const before = messages.length
    await Promise.race([all, pause(SILENCE_MS)])
    if (messages.length === count) break
    const hasMore = await mayHaveReady(workbench, queue)
    // What was on its way then has come before this is answered.
    await link.ask(() => channel.prefetch(count))
    if (messages.length > before) cameAt = performance.now()
    else if (!hasMore) break
  }
  return messages
}

/** The pieces of work of this process that wait for a lock, of each connection: to the server they are one. */
const waiting = new WeakMap<Workbench, Map<string, Promise<unknown>>>()

/**
 * Runs one piece of work at a time among all processes, under a lock that ends with this connection: two who look at one
 * queue at the same time would each see a part. Rejects with `ZYQ_BROKER_BUSY` where another one holds it for seconds.
 */
export function exclusively<Result>(workbench: Workbench, what: string, work: () => Promise<Result>): Promise<Result> {
  const locks = waiting.get(workbench) ?? new Map<string, Promise<unknown>>()
  waiting.set(workbench, locks)
  const before = locks.get(what) ?? Promise.resolve()
  const result = before.then(() => underLock(workbench, what, work))
  locks.set(
    what,
    result.catch(() => undefined),
  )
  return result
}

async function underLock<Result>(workbench: Workbench, what: string, work: () => Promise<Result>): Promise<Result> {
  const lock = `zyqueue.lock.${what}`.slice(0, 200)
  for (let tries = 0; ; tries++) {
    try {
      await workbench.run((channel) => channel.assertQueue(lock, { exclusive: true, durable: false }))
      break
    } catch (error) {
      if (replyCode(error) !== REPLY.RESOURCE_LOCKED) throw error
      if (tries === LOCK_TRIES) {
        throw new BrokerError('ZYQ_BROKER_BUSY', `Another administrator is looking at ${what}`, { cause: error })
      }
      await pause(LOCK_PAUSE_MS)
    }
  }
  try {
    return await work()
  } finally {
    await workbench.run((channel) => channel.deleteQueue(lock)).catch(() => undefined)
  }
}

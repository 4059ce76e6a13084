import type { Message } from 'amqplib'
import type { DeadLetter, DeadLetters } from '@zyqueue/core/broker'
import { ownHeader, OWN_HEADER, propertiesOfCopy, receivedFrom } from '../message.ts'
import { exclusively, takeAndReturn, type Decision } from './browse.ts'
import type { ConnectionState } from '../connection/connection-state.ts'
import { countsOf, deadQueueOf, queueNotFound } from '../topology.ts'

/** The most messages that are taken at once. */
const AT_ONCE = 1000

/** The dead letters of a queue are in `<queue>.dead`. `takeAndReturn` says what it costs to read it. */
export function createDeadLetters(session: () => ConnectionState): DeadLetters {
  return {
    async list(queue, { limit }) {
      const current = session()
      await assertKnown(current, queue)
      let newest: readonly Message[] = []
      await exclusively(current.declareChannel, deadQueueOf(queue), () =>
        takeAndReturn(current, deadQueueOf(queue), Infinity, async (messages) => {
          newest = messages.slice(-limit)
          return []
        }),
      )
      return limit > 0 ? newest.map((message) => letterOf(queue, message)).toReversed() : []
    },

    async requeue(queue, ids) {
      const current = session()
      await assertKnown(current, queue)
      return each(current, queue, ids, (messages) => copyToQueue(current, queue, messages))
    },

    async purge(queue, ids) {
      const current = session()
      await assertKnown(current, queue)
      if (ids === undefined) {
        const dead = await countsOf(current.declareChannel, deadQueueOf(queue))
        if (dead === undefined) return 0
        const { messageCount } = await current.declareChannel.run((channel) => channel.purgeQueue(deadQueueOf(queue)))
        return messageCount
      }
      return each(current, queue, ids, async (messages) => messages.map(() => true))
    },
  }
}

/** Deletes dead letters of the ids, or all, for which `move` resolves to true. Resolves to their number. */
async function each(
  session: ConnectionState,
  queue: string,
  ids: readonly string[] | undefined,
  move: (messages: readonly Message[]) => Promise<readonly boolean[]>,
): Promise<number> {
  if (ids?.length === 0) return 0
  const wanted = ids === undefined ? undefined : new Set(ids)
  const dead = deadQueueOf(queue)
  return exclusively(session.declareChannel, dead, async () => {
    let left = (await countsOf(session.declareChannel, dead))?.messageCount ?? 0
    let moved = 0
    while (left > 0) {
      const before = moved
      const seen = await takeAndReturn(
        session,
        dead,
        wanted === undefined ? Math.min(left, AT_ONCE) : left,
        async (messages) => {
          const chosen = messages.filter((message) => wanted?.has(receivedFrom(queue, message).id) ?? true)
          const done = await move(chosen)
          const gone = new Set(chosen.filter((_, index) => done[index]))
          moved += gone.size
          return messages.map((message): Decision => (gone.has(message) ? 'delete' : 'keep'))
        },
      )
      // Messages that could not be moved are at the front again, where another round would see them.
      if (wanted !== undefined || seen === 0 || moved - before < seen) break
      left -= seen
    }
    return moved
  })
}

/** Copies jobs back into their queue, with delivery count 0. */
async function copyToQueue(
  { publisher }: ConnectionState,
  queue: string,
  messages: readonly Message[],
): Promise<readonly boolean[]> {
  const results = await publisher.publish(
    messages.map((message) => ({
      exchange: '',
      routingKey: queue,
      body: message.content,
      properties: propertiesOfCopy(queue, { id: receivedFrom(queue, message).id, deliveryCount: 0 }, message, {}),
    })),
  )
  return results.map(({ status }) => status === 'stored')
}

function letterOf(queue: string, message: Message): DeadLetter {
  const { id, headers } = receivedFrom(queue, message)
  const diedAtMs = Number(ownHeader(message, OWN_HEADER.diedAt))
  const reason = ownHeader(message, OWN_HEADER.reason) ?? 'unknown'
  return { id, queue, reason, headers, body: message.content, ...(Number.isFinite(diedAtMs) && { diedAtMs }) }
}

async function assertKnown({ declareChannel }: ConnectionState, queue: string): Promise<void> {
  const [own, dead] = [await countsOf(declareChannel, queue), await countsOf(declareChannel, deadQueueOf(queue))]
  if (own === undefined && dead === undefined) throw queueNotFound(queue)
}

import type { Message } from 'amqplib'
import type { DeadLetter, DeadLetters } from '@zyqueue/core/broker'
import { ownHeader, OWN_HEADER, propertiesAgain, received } from './message.ts'
import { exclusively, scan, type Verdict } from './scan.ts'
import type { Session } from './session.ts'
import { countsOf, deadQueueOf, queueNotFound } from './topology.ts'

/** So many are moved or looked at in one go. */
const AT_ONCE = 1000

/** The dead letters of a queue are a queue of their own; see `scan` for what it takes to look into one. */
export function createDeadLetters(session: () => Session): DeadLetters {
  return {
    async list(queue, { limit }) {
      const current = session()
      await assertKnown(current, queue)
      let newest: readonly Message[] = []
      await exclusively(current.workbench, deadQueueOf(queue), () =>
        scan(current, deadQueueOf(queue), Infinity, async (messages) => {
          newest = messages.slice(-limit)
          return []
        }),
      )
      return limit > 0 ? newest.map((message) => letterOf(queue, message)).toReversed() : []
    },

    async requeue(queue, ids) {
      const current = session()
      await assertKnown(current, queue)
      return each(current, queue, ids, (messages) => republish(current, queue, messages))
    },

    async purge(queue, ids) {
      const current = session()
      await assertKnown(current, queue)
      if (ids === undefined) {
        const dead = await countsOf(current.workbench, deadQueueOf(queue))
        if (dead === undefined) return 0
        const { messageCount } = await current.workbench.run((channel) => channel.purgeQueue(deadQueueOf(queue)))
        return messageCount
      }
      return each(current, queue, ids, async (messages) => messages.map(() => true))
    },
  }
}

/** Takes those of the ids, or all that are there now, out of the dead letters where `move` says true; resolves to how many. */
async function each(
  session: Session,
  queue: string,
  ids: readonly string[] | undefined,
  move: (messages: readonly Message[]) => Promise<readonly boolean[]>,
): Promise<number> {
  if (ids?.length === 0) return 0
  const wanted = ids === undefined ? undefined : new Set(ids)
  const dead = deadQueueOf(queue)
  return exclusively(session.workbench, dead, async () => {
    let left = (await countsOf(session.workbench, dead))?.messageCount ?? 0
    let moved = 0
    while (left > 0) {
      const before = moved
      const seen = await scan(
        session,
        dead,
        wanted === undefined ? Math.min(left, AT_ONCE) : left,
        async (messages) => {
          const chosen = messages.filter((message) => wanted?.has(received(queue, message).id) ?? true)
          const done = await move(chosen)
          const gone = new Set(chosen.filter((_, index) => done[index]))
          moved += gone.size
          return messages.map((message): Verdict => (gone.has(message) ? 'delete' : 'keep'))
        },
      )
      // Those that could not be moved went back to the front: another round would see them again.
      if (wanted !== undefined || seen === 0 || moved - before < seen) break
      left -= seen
    }
    return moved
  })
}

/** Back into the queue, with delivery count 0. */
async function republish(
  { publisher }: Session,
  queue: string,
  messages: readonly Message[],
): Promise<readonly boolean[]> {
  const results = await publisher.publish(
    messages.map((message) => ({
      exchange: '',
      routingKey: queue,
      body: message.content,
      properties: propertiesAgain(queue, { id: received(queue, message).id, deliveryCount: 0 }, message, {}),
    })),
  )
  return results.map(({ status }) => status === 'stored')
}

function letterOf(queue: string, message: Message): DeadLetter {
  const { id, headers } = received(queue, message)
  const diedAtMs = Number(ownHeader(message, OWN_HEADER.diedAt))
  const reason = ownHeader(message, OWN_HEADER.reason) ?? 'unknown: nothing says why it is here'
  return { id, queue, reason, headers, body: message.content, ...(Number.isFinite(diedAtMs) && { diedAtMs }) }
}

async function assertKnown({ workbench }: Session, queue: string): Promise<void> {
  const [own, dead] = [await countsOf(workbench, queue), await countsOf(workbench, deadQueueOf(queue))]
  if (own === undefined && dead === undefined) throw queueNotFound(queue)
}

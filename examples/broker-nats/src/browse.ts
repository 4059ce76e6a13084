import type { StoredMsg } from '@nats-io/jetstream'
import type { DeadLetter, DeadLetters } from '@zyqueue/core/broker'
import { fromHeaders, type Envelope } from './message.ts'
import { DEAD, deadSubject, durableOf, JOBS, jobSubject } from './names.ts'
import type { Session } from './session.ts'

interface StoredLetter {
  readonly message: StoredMsg
  readonly envelope: Envelope
}

export function createDeadLetters(open: () => Session): DeadLetters {
  return {
    async list(queue, { limit }) {
      const found: DeadLetter[] = []
      for await (const { message, envelope } of letters(open(), queue)) {
        const { id, headers, reason = '' } = envelope
        found.push({ id, queue, reason, headers, body: message.data.slice(), diedAtMs: message.time.getTime() })
      }
      return found.toReversed().slice(0, limit)
    },
    async requeue(queue, ids) {
      const session = open()
      return removeEach(session, queue, ids, ({ message, envelope: { reason: _, ...envelope } }) => {
        const stored = { ...envelope, deliveries: 0 }
        return session.store(jobSubject(queue), message.data, stored, `${DEAD} ${message.seq} ${JOBS}`)
      })
    },
    async purge(queue, ids) {
      return removeEach(open(), queue, ids, async () => {})
    },
  }
}

/** The oldest first: JetStream reads forward only. Rejects if there is no such queue. */
async function* letters(session: Session, queue: string): AsyncGenerator<StoredLetter> {
  await session.manager.consumers.info(JOBS, durableOf(queue))
  const next_by_subj = deadSubject(queue)
  let seq = 1
  for (;;) {
    const message = await session.manager.direct.getMessage(DEAD, { seq, next_by_subj })
    if (message === null) return
    yield { message, envelope: fromHeaders(message.header, message.seq) }
    seq = message.seq + 1
  }
}

/** Calls `store` for each chosen dead letter, then deletes it. Resolves to the number of deleted ones. */
async function removeEach(
  session: Session,
  queue: string,
  ids: readonly string[] | undefined,
  store: (letter: StoredLetter) => Promise<void>,
): Promise<number> {
  let count = 0
  for await (const letter of letters(session, queue)) {
    if (ids !== undefined && !ids.includes(letter.envelope.id)) continue
    await store(letter)
    if (await session.manager.streams.deleteMessage(DEAD, letter.message.seq, false)) count++
  }
  return count
}

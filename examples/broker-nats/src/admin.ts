import { setTimeout as sleep } from 'node:timers/promises'
import type { ConsumerInfo, StoredMsg } from '@nats-io/jetstream'
import { createInbox } from '@nats-io/transport-node'
import type { BrokerAdmin, DeadLetter, DeadLetters, Finding, QueueStats, WorkerStats } from '@zyqueue/core/broker'
import { next, replyOf } from './consumer.ts'
import { fromHeaders } from './message.ts'
import { DEAD, DEAD_SUBJECTS, deadSubject, durableOf, JOBS, jobSubject, ROLL_CALL } from './names.ts'
import type { Session } from './session.ts'

/** How long workers have to answer a roll call. */
const ROLL_CALL_MS = 300

interface Present extends WorkerStats {
  readonly activeOf: Readonly<Record<string, number>>
}

/** `open` throws where the broker cannot be used. */
export function createAdmin(open: () => Session): BrokerAdmin {
  return {
    deadLetters: createDeadLetters(open),
    async queues() {
      const session = open()
      const [infos, dead, present] = await Promise.all([consumers(session), countDead(session), rollCall(session)])
      return infos.map((info) => figures(info, dead, present))
    },
    async workers() {
      return (await rollCall(open())).map(({ activeOf: _, ...worker }) => worker)
    },
    async purge(queue) {
      const session = open()
      await session.manager.consumers.info(JOBS, durableOf(queue))
      // To purge the stream would take what is in hand too. What is taken here is not.
      for (let count = 0; ; count++) {
        const message = await next(session, queue, (late) => late.respond('-NAK'))
        if (message === undefined) return count
        await session.request(replyOf(message), '+ACK')
      }
    },
    async check() {
      const size = open().connection.info?.max_payload ?? 0
      const finding: Finding = {
        level: 'warning',
        message: `The server takes messages of ${size} bytes, headers included`,
        remedy: 'Set max_payload to 1MB, its default, or more',
      }
      return size < 1024 * 1024 ? [finding] : []
    },
    async version() {
      return `nats-server ${open().connection.info?.version ?? ''}`
    },
  }
}

async function consumers(session: Session): Promise<readonly ConsumerInfo[]> {
  const found: ConsumerInfo[] = []
  for await (const info of session.manager.consumers.list(JOBS)) found.push(info)
  return found.filter(({ config }) => config.description !== undefined)
}

async function countDead(session: Session): Promise<ReadonlyMap<string, number>> {
  const { state } = await session.manager.streams.info(DEAD, { subjects_filter: DEAD_SUBJECTS })
  return new Map(Object.entries(state.subjects ?? {}))
}

/** What is delivered and not settled is in the hands of those that say so, or waits to be delivered again. */
function figures(info: ConsumerInfo, dead: ReadonlyMap<string, number>, present: readonly Present[]): QueueStats {
  const name = info.config.description ?? ''
  const workers = present.filter(({ queues }) => queues.includes(name))
  const active = workers.reduce((sum, { activeOf }) => sum + (activeOf[name] ?? 0), 0)
  const ready = Math.max(0, info.num_pending + info.num_ack_pending - active)
  return { name, ready, delayed: 0, active, dead: dead.get(deadSubject(name)) ?? 0, workers: workers.length }
}

/** Asks all that consume who they are. Who does not answer is not there. */
async function rollCall(session: Session): Promise<readonly Present[]> {
  const present: Present[] = []
  const inbox = createInbox()
  const answers = session.connection.subscribe(inbox, {
    callback: (_, message) => {
      if (message.data.length > 0) present.push(message.json<Present>())
    },
  })
  session.connection.publish(ROLL_CALL, undefined, { reply: inbox })
  await sleep(ROLL_CALL_MS, undefined, { ref: false })
  answers.unsubscribe()
  return present
}

function createDeadLetters(open: () => Session): DeadLetters {
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
      return take(session, queue, ids, ({ message, envelope: { reason: _, ...envelope } }) =>
        session.store(
          jobSubject(queue),
          message.data,
          { ...envelope, deliveries: 0 },
          `${DEAD} ${message.seq} ${JOBS}`,
        ),
      )
    },
    async purge(queue, ids) {
      return take(open(), queue, ids, async () => undefined)
    },
  }
}

interface Letter {
  readonly message: StoredMsg
  readonly envelope: ReturnType<typeof fromHeaders>
}

/** The oldest first: JetStream has no way back. */
async function* letters(session: Session, queue: string): AsyncGenerator<Letter> {
  const next_by_subj = deadSubject(queue)
  let seq = 1
  for (;;) {
    const message = await session.manager.direct.getMessage(DEAD, { seq, next_by_subj })
    if (message === null) return
    yield { message, envelope: fromHeaders(message.header, message.seq) }
    seq = message.seq + 1
  }
}

/** Deletes those of the ids, or all, each after `first`; resolves to how many. */
async function take(
  session: Session,
  queue: string,
  ids: readonly string[] | undefined,
  first: (letter: Letter) => Promise<void>,
): Promise<number> {
  let count = 0
  for await (const letter of letters(session, queue)) {
    if (ids !== undefined && !ids.includes(letter.envelope.id)) continue
    await first(letter)
    if (await session.manager.streams.deleteMessage(DEAD, letter.message.seq, false)) count += 1
  }
  return count
}

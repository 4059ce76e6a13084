import { setTimeout as sleep } from 'node:timers/promises'
import type { ConsumerInfo } from '@nats-io/jetstream'
import { createInbox } from '@nats-io/transport-node'
import type { BrokerAdmin, Finding, QueueStats } from '@zyqueue/core/broker'
import { createDeadLetters } from './browse.ts'
import type { RollCallAnswer } from './consumer.ts'
import { unlessMissing } from './errors.ts'
import { replyOf } from './message.ts'
import { DEAD, DEAD_SUBJECTS, deadSubject, durableOf, JOBS, ROLL_CALL } from './names.ts'
import type { Session } from './session.ts'

const ROLL_CALL_TIMEOUT_MS = 300
const DEFAULT_MAX_PAYLOAD = 1024 * 1024

/** `open` throws if the broker is not connected. */
export function createAdmin(open: () => Session): BrokerAdmin {
  return {
    deadLetters: createDeadLetters(open),
    async queues(names) {
      const session = open()
      const [infos, dead, workers] = await Promise.all([
        consumers(session, names),
        countDead(session),
        callRoll(session),
      ])
      return infos.map((info) => statsOf(info, dead, workers))
    },
    async workers() {
      return (await callRoll(open())).map(({ activeOf: _, ...worker }) => worker)
    },
    async purge(queue) {
      const session = open()
      await session.manager.consumers.info(JOBS, durableOf(queue))
      // Purging the stream would delete the jobs that consumers hold too. A pull gets only the others.
      for (let count = 0; ; count++) {
        const message = await session.pull(queue, (late) => late.respond('-NAK'))
        if (message === undefined) return count
        await session.request(replyOf(message), '+ACK')
      }
    },
    async check() {
      const size = open().connection.info?.max_payload ?? 0
      const finding: Finding = {
        level: 'warning',
        message: `The server takes messages of at most ${size} bytes, headers included`,
        remedy: 'Set max_payload to 1MB, the default, or more',
      }
      return size < DEFAULT_MAX_PAYLOAD ? [finding] : []
    },
    async version() {
      return `nats-server ${open().connection.info?.version ?? ''}`
    },
  }
}

async function consumers(session: Session, names?: readonly string[]): Promise<readonly ConsumerInfo[]> {
  const { consumers: api } = session.manager
  if (names !== undefined) {
    const infos = await Promise.all([...new Set(names)].map((name) => unlessMissing(api.info(JOBS, durableOf(name)))))
    return infos.filter((info) => info !== undefined)
  }
  return (await unlessMissing(listAll(session))) ?? []
}

async function listAll({ manager }: Session): Promise<readonly ConsumerInfo[]> {
  const found: ConsumerInfo[] = []
  for await (const info of manager.consumers.list(JOBS)) if (info.config.description !== undefined) found.push(info)
  return found
}

async function countDead(session: Session): Promise<ReadonlyMap<string, number>> {
  const info = await unlessMissing(session.manager.streams.info(DEAD, { subjects_filter: DEAD_SUBJECTS }))
  return new Map(Object.entries(info?.state.subjects ?? {}))
}

/** A job that is delivered, but that no live worker reports as active, waits for the end of its `ackWait`: it counts as ready. */
function statsOf(
  info: ConsumerInfo,
  dead: ReadonlyMap<string, number>,
  answers: readonly RollCallAnswer[],
): QueueStats {
  const name = info.config.description ?? ''
  const workers = answers.filter(({ queues }) => queues.includes(name))
  const active = workers.reduce((sum, { activeOf }) => sum + (activeOf[name] ?? 0), 0)
  const ready = Math.max(0, info.num_pending + info.num_ack_pending - active)
  return { name, ready, delayed: 0, active, dead: dead.get(deadSubject(name)) ?? 0, workers: workers.length }
}

/** The consumers that answer in time, of all processes. */
async function callRoll(session: Session): Promise<readonly RollCallAnswer[]> {
  const answers: RollCallAnswer[] = []
  const reply = createInbox()
  const subscription = session.connection.subscribe(reply, {
    callback: (_, message) => {
      // The server sends an empty message if there is no consumer.
      if (message.data.length > 0) answers.push(message.json<RollCallAnswer>())
    },
  })
  session.connection.publish(ROLL_CALL, undefined, { reply })
  await sleep(ROLL_CALL_TIMEOUT_MS, undefined, { ref: false })
  subscription.unsubscribe()
  return answers
}

import { faultOf, refuseUnknownOptions, type OutboundMessage, type PublishResult } from '@zyqueue/core/broker'
import type { Database } from './database.ts'
import { errorCode } from './errors.ts'
import { store, type NewJob } from './jobs.ts'
import { encodeMessage } from './message.ts'

/** SQLite itself takes a gigabyte, but a write of that size blocks the event loop and every other process. */
export const MAX_BODY_BYTES: number = 64 * 1024 * 1024

const STORED: PublishResult = { status: 'stored' }

interface EncodedMessage {
  readonly message: OutboundMessage
  readonly encoded: Uint8Array
}

/** Stores a batch in one transaction. Messages that cannot be stored are refused; they do not hold up the others. */
export async function publish(
  database: Database,
  batch: readonly OutboundMessage[],
): Promise<readonly PublishResult[]> {
  const entries = batch.map((message) => encode(message))
  const good = entries.filter((entry) => 'encoded' in entry)
  const outcome = good.length === 0 ? STORED : await storeAll(database, good)
  database.wakeFile.wakeFor(good.map(({ message }) => message.delayMs))
  return entries.map((entry) => ('encoded' in entry ? outcome : entry))
}

async function storeAll(database: Database, messages: readonly EncodedMessage[]): Promise<PublishResult> {
  const jobBytes = messages.reduce((sum, { encoded }) => sum + encoded.length, 0)
  try {
    await database.write((sql) => {
      const jobs = messages.map(({ message, encoded }): NewJob => {
        const { queue, priority, delayMs } = message
        return { queue: database.queueId(sql, queue), rank: 9 - priority, delayMs, message: encoded }
      })
      store(sql, jobs, Date.now())
    }, jobBytes)
    return STORED
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ZYQ_OUTCOME_UNKNOWN') return { status: 'unknown', error }
    if (code === 'ZYQ_BROKER_FULL' || code === 'ZYQ_BODY_TOO_LARGE') return { status: 'refused', error }
    throw error
  }
}

function encode(message: OutboundMessage): EncodedMessage | (PublishResult & { status: 'refused' }) {
  try {
    refuseUnknownOptions('SQLite', message.options)
    const error = faultOf('SQLite', message, MAX_BODY_BYTES)
    return error === undefined ? { message, encoded: encodeMessage(message) } : { status: 'refused', error }
  } catch (error) {
    return { status: 'refused', error }
  }
}

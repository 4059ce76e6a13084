/** Stores a batch of jobs with one script for each queue. */
import {
  BrokerError,
  faultOf,
  refuseUnknownOptions,
  type OutboundMessage,
  type PublishResult,
} from '@zyqueue/core/broker'
import type { Argument } from '../connection/client.ts'
import { ConnectionLostError, errorCode, isRetryable } from '../errors.ts'
import type { Keys, QueueKeys } from '../keys.ts'
import { headersJson, MAX_HEADERS_BYTES, sizeOfMessage, writeMessage } from '../message.ts'
import { publish } from '../scripts/publish.ts'
import { dedupeRuns } from './dedupe.ts'
import type { Servers } from '../connection/servers.ts'

/** A script with this number of small jobs takes about a millisecond on the server. */
export const MAX_BATCH = 1000
/** Redis allows 512 MiB, but copies a job several times and runs no other command meanwhile. */
export const MAX_BODY_BYTES: number = 16 * 1024 * 1024
/** The maximum size of all jobs in one script, unless a single job is larger. */
const MAX_SCRIPT_BYTES = 8 * 1024 * 1024
/** The contract requires one minute. The second minute is for a retry that begins just before it ends. */
const DEDUPE_MS = 2 * 60_000

interface Portion {
  readonly keys: QueueKeys
  readonly messages: OutboundMessage[]
  /** The headers of each message, as JSON. */
  readonly headers: string[]
  /** The positions of the messages in the batch. */
  readonly indexes: number[]
  bytes: number
}

const STORED: PublishResult = Object.freeze({ status: 'stored' })

/** Resolves to one result for each message, in the same order. Rejects if no job was stored and core can repeat the batch. */
export async function publishBatch(
  servers: Servers,
  batch: readonly OutboundMessage[],
): Promise<readonly PublishResult[]> {
  const results: PublishResult[] = Array.from({ length: batch.length }, () => STORED)
  const portions = splitByQueue(servers.keys, batch, (index, error) => {
    results[index] = { status: 'refused', error }
  })
  const answers = await Promise.allSettled(portions.map((portion) => send(servers, portion)))
  const errors = answers.flatMap((answer): unknown[] => (answer.status === 'rejected' ? [answer.reason] : []))
  // Nothing was stored, so core can repeat the whole batch.
  if (errors.length === answers.length && errors.length > 0 && errors.every(isRetryable)) throw errors[0]
  for (const [position, answer] of answers.entries()) {
    if (answer.status === 'fulfilled') continue
    const result = resultOf(answer.reason)
    for (const index of portions[position]?.indexes ?? []) results[index] = result
  }
  return results
}

/** Another part of the batch may be stored, so a retryable error becomes `unknown`, which core repeats. */
function resultOf(error: unknown): PublishResult {
  const isUnknown = errorCode(error) === 'ZYQ_CLOSED' || error instanceof ConnectionLostError || isRetryable(error)
  return { status: isUnknown ? 'unknown' : 'refused', error }
}

function splitByQueue(
  keys: Keys,
  batch: readonly OutboundMessage[],
  refuse: (index: number, error: unknown) => void,
): readonly Portion[] {
  const portions: Portion[] = []
  const open = new Map<string, Portion>()
  for (const [index, message] of batch.entries()) {
    const headers = headersJson(message.headers)
    try {
      check(message, headers)
    } catch (error) {
      refuse(index, error)
      continue
    }
    const bytes = LENGTH_BYTES + sizeOfMessage(message, headers)
    let portion = open.get(message.queue)
    if (portion === undefined || portion.bytes + bytes > MAX_SCRIPT_BYTES) {
      portion = { keys: keys.of(message.queue), messages: [], headers: [], indexes: [], bytes: 0 }
      open.set(message.queue, portion)
      portions.push(portion)
    }
    portion.messages.push(message)
    portion.headers.push(headers)
    portion.indexes.push(index)
    portion.bytes += bytes
  }
  return portions
}

/** Throws if the message cannot be stored. */
function check(message: OutboundMessage, headers: string): void {
  refuseUnknownOptions('Redis', message.options)
  const fault = faultOf('Redis', message, MAX_BODY_BYTES)
  if (fault !== undefined) throw fault
  if (headers.length * 3 > MAX_HEADERS_BYTES) {
    throw new BrokerError('ZYQ_BODY_TOO_LARGE', 'The headers of the job are larger than 5 MB. Store the data elsewhere')
  }
}

const LENGTH_BYTES = 4
const DELAY_BYTES = 6

async function send(servers: Servers, { keys, messages, headers, bytes }: Portion): Promise<void> {
  const jobs = Buffer.allocUnsafe(bytes)
  const state = { storedAtMs: Date.now(), deliveries: 0, order: 0 }
  let start = 0
  for (const [index, message] of messages.entries()) {
    const end = writeMessage(jobs, start + LENGTH_BYTES, message, headers[index] ?? '', state)
    jobs.writeUInt32BE(end - start - LENGTH_BYTES, start)
    start = end
  }
  const scriptKeys = [keys.ready, keys.sorted, keys.delayed, keys.order, keys.waiters, keys.leases]
  const args: Argument[] = [servers.keys.wake, DEDUPE_MS, messages.length, jobs, delaysOf(messages)]
  for (const { series, first, count, bits } of dedupeRuns(messages.map(({ id }) => id))) {
    scriptKeys.push(keys.dedupe(series))
    args.push(first, count, bits)
  }
  await servers.run(publish, scriptKeys, args)
}

function delaysOf(messages: readonly OutboundMessage[]): Buffer | string {
  if (messages.every(({ delayMs }) => delayMs <= 0)) return ''
  const delays = Buffer.allocUnsafe(messages.length * DELAY_BYTES)
  for (const [index, { delayMs }] of messages.entries()) {
    delays.writeUIntBE(Math.max(0, Math.ceil(delayMs)), index * DELAY_BYTES, DELAY_BYTES)
  }
  return delays
}

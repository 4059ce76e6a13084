import type { Connection } from '../connection/connection.ts'
import type { OutboundMessage, PublishResult, QueueSpec } from '../contract/index.ts'
import { BrokerError } from '../errors.ts'

/** A message and its queue. */
export interface Item {
  readonly queue: QueueSpec
  readonly message: OutboundMessage
}

/** The result of one publish try. `mayRetry` is true if another try cannot store the message twice. */
export interface PublishAttempt {
  readonly result: PublishResult
  readonly mayRetry: boolean
}

/**
 * Publishes a batch once. Returns one result for each message, in order, with a `ZyQueueError`. Never rejects.
 *
 * If a queue cannot be declared, only its messages are refused: a batch contains messages of other tasks too.
 */
export async function publishOnce(connection: Connection, items: readonly Item[]): Promise<readonly PublishAttempt[]> {
  // A broker that never was reachable is probably configured wrongly: do not retry. One that is busy was reached.
  const isKnown = (code: string): boolean => connection.everOpen || code === 'ZYQ_BROKER_BUSY'
  const refusal = (thrown: unknown): PublishAttempt => {
    const error = connection.wrap(thrown)
    return { result: { status: 'refused', error }, mayRetry: error.retryable && isKnown(error.code) }
  }
  const refused = new Map<QueueSpec, PublishAttempt>()
  const queues = new Set(items.map(({ queue }) => queue))
  await Promise.all(
    [...queues].map((queue) =>
      connection.declare([queue]).catch((error: unknown) => {
        refused.set(queue, refusal(error))
      }),
    ),
  )
  const sent = refused.size === 0 ? items : items.filter(({ queue }) => !refused.has(queue))
  const answers = sent.length === 0 ? [] : await publish(connection, sent, refusal)
  if (sent === items) return answers
  let next = 0
  return items.map(({ queue }) => refused.get(queue) ?? answers[next++] ?? unknownAttempt(connection))
}

async function publish(
  connection: Connection,
  items: readonly Item[],
  refusal: (thrown: unknown) => PublishAttempt,
): Promise<readonly PublishAttempt[]> {
  try {
    const results = await connection.broker.publish(items.map(({ message }) => message))
    return items.map((_, index) => {
      const result = results[index]
      return result === undefined ? unknownAttempt(connection) : attemptFrom(connection, result)
    })
  } catch (error) {
    const refused = refusal(error)
    return items.map(() => refused)
  }
}

function attemptFrom(connection: Connection, result: PublishResult): PublishAttempt {
  if (result.status === 'stored') return { result, mayRetry: false }
  const error = connection.wrap(result.error)
  if (result.status === 'refused') return { result: { status: 'refused', error }, mayRetry: false }
  const message = `The job may be stored: ${error.message}`
  return {
    result: { status: 'unknown', error: new BrokerError('ZYQ_OUTCOME_UNKNOWN', message, { cause: error }) },
    mayRetry: connection.broker.capabilities.idempotentPublish,
  }
}

function unknownAttempt(connection: Connection): PublishAttempt {
  const error = new BrokerError('ZYQ_BROKER', `${connection.broker.name} did not answer for every message.`)
  return attemptFrom(connection, { status: 'unknown', error })
}

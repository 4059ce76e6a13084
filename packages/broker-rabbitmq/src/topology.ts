import type { Channel } from 'amqplib'
import { BrokerError } from '@zyqueue/core/broker'
import { messageOf, REPLY, replyCode } from './errors.ts'
import {
  conditionsOf,
  dueNameOf,
  dueQueueOf,
  NO_DELIVERY_LIMIT,
  withoutLimit,
  type Plan,
  type QueueType,
} from './options.ts'
import type { Workbench } from './workbench.ts'

export function deadQueueOf(queue: string): string {
  return `${queue}.dead`
}

/**
 * Makes sure that a queue, its exchange and its bindings exist. A temporary queue is its consumer's to make, so that of
 * those the exchange is all. Rejects with `ZYQ_TOPOLOGY` where one exists that differs, and changes nothing then.
 */
export async function declare(workbench: Workbench, plan: Plan): Promise<void> {
  const { name, route, queueType, temporary, passive } = plan
  const steps = temporary ? [declareExchange] : [declareExchange, declareQueue]
  const mayBeForgotten = queueType === 'quorum' && workbench.forgetsNewQueues
  const asks = !temporary && (route.exchange !== '' || mayBeForgotten)
  const exists = asks && (await countsOf(workbench, name)) !== undefined
  // What exists comes first: where it differs, nothing has been made for its sake.
  if (exists) steps.reverse()
  const work = async (channel: Channel): Promise<void> => {
    for (const step of steps) await step(channel, plan)
    if (!temporary && !passive) await bind(channel, name, plan)
  }
  const makesQuorumQueue = queueType === 'quorum' && !exists && !temporary && !passive
  await (makesQuorumQueue ? workbench.make(work) : workbench.run(work))
}

/** Makes the queue of one consumer, which ends with its connection. Resolves to the name that the server gave it. */
export async function declareTemporary(channel: Channel, plan: Plan): Promise<string> {
  const { queue } = await channel.assertQueue('', { exclusive: true, durable: false })
  await bind(channel, queue, plan)
  return queue
}

/** Makes sure that a queue that is there is bound to its exchange. Of its own name, or of the one that the server gave it. */
export async function bindAgain(workbench: Workbench, plan: Plan, queue: string): Promise<void> {
  if (plan.route.exchange === '' || plan.passive) return
  await workbench.run(async (channel) => {
    await declareExchange(channel, plan)
    await bind(channel, queue, plan)
  })
}

/** Makes sure that there is a queue for the dead letters of a queue. */
export function declareDead(workbench: Workbench, queue: string, type: QueueType): Promise<void> {
  const arguments_ =
    type === 'quorum' ? { 'x-queue-type': type, 'x-delivery-limit': NO_DELIVERY_LIMIT } : { 'x-queue-type': type }
  const how = type === 'quorum' ? 'make' : 'run'
  return workbench[how](async (channel) => {
    try {
      await channel.assertQueue(deadQueueOf(queue), { durable: true, arguments: arguments_ })
    } catch (error) {
      throw mismatch(error)
    }
  })
}

/** Ready messages and consumers of a queue; undefined where there is none of that name. */
export async function countsOf(
  workbench: Workbench,
  queue: string,
): Promise<{ readonly messageCount: number; readonly consumerCount: number } | undefined> {
  try {
    return await workbench.run((channel) => channel.checkQueue(queue))
  } catch (error) {
    if (replyCode(error) === REPLY.NOT_FOUND) return undefined
    throw error
  }
}

/** The queues that have the jobs of a queue: itself, and its `.due` if that exists, even if this process does not declare it. */
export async function sourcesOf(workbench: Workbench, { name }: Plan): Promise<readonly string[]> {
  const due = dueNameOf(name)
  return (await countsOf(workbench, due)) === undefined ? [name] : [name, due]
}

/** Whether a queue that has a consumer may have messages for it. */
export async function mayHaveReady(workbench: Workbench, queue: string): Promise<boolean> {
  const counts = await countsOf(workbench, queue)
  // Of a quorum queue that does not answer in time the server says that it has nothing, nor consumers.
  return counts !== undefined && (counts.messageCount > 0 || counts.consumerCount === 0)
}

export function queueNotFound(queue: string): BrokerError {
  return new BrokerError('ZYQ_QUEUE_NOT_FOUND', `RabbitMQ has no queue "${queue}"`)
}

async function declareExchange(channel: Channel, { route: { exchange, exchangeType }, passive }: Plan): Promise<void> {
  if (exchange === '') return
  try {
    if (passive) await channel.checkExchange(exchange)
    else await channel.assertExchange(exchange, exchangeType, { durable: true })
  } catch (error) {
    if (replyCode(error) !== REPLY.NOT_FOUND) throw mismatch(error)
    throw new BrokerError('ZYQ_UNROUTABLE', `RabbitMQ has no exchange "${exchange}"`, { cause: error })
  }
}

async function declareQueue(channel: Channel, plan: Plan): Promise<void> {
  try {
    if (plan.passive) await channel.checkQueue(plan.name)
    else await channel.assertQueue(plan.name, { durable: true, arguments: plan.arguments })
    const due = dueQueueOf(plan)
    if (due !== plan.name) await channel.assertQueue(due, { durable: true, arguments: withoutLimit(plan) })
  } catch (error) {
    throw replyCode(error) === REPLY.NOT_FOUND ? queueNotFound(plan.name) : mismatch(error)
  }
}

async function bind(channel: Channel, queue: string, { route }: Plan): Promise<void> {
  const { exchange, exchangeType, routingKeys } = route
  if (exchange === '') return
  if (exchangeType === 'headers') {
    await channel.bindQueue(queue, exchange, '', { 'x-match': 'all', ...conditionsOf(route) })
    return
  }
  for (const key of routingKeys) await channel.bindQueue(queue, exchange, key)
}

/**
 * What the server says where a declaration differs, for people. As of 3.10 to 4.x: `inequivalent arg 'x-max-length' for
 * queue 'q' in vhost '/': received the value '5' of type 'signedint' but current is the value '7' of type 'long'`.
 */
export function mismatch(error: unknown): unknown {
  if (replyCode(error) !== REPLY.PRECONDITION_FAILED) return error
  const text = messageOf(error)
  const found =
    /inequivalent arg '(?<argument>[^']*)' for (?<kind>queue|exchange) '(?<name>.*)' in vhost '.*': received (?<asked>.*?) but current is (?<actual>.*?)"?$/s.exec(
      text,
    )?.groups
  if (found === undefined) return new BrokerError('ZYQ_TOPOLOGY', `RabbitMQ: ${text}`, { cause: error })
  const { argument, kind, name, asked = '', actual = '' } = found
  return new BrokerError(
    'ZYQ_TOPOLOGY',
    `The ${kind} "${name}" exists already and differs in ${argument}: asked for ${plain(asked)}, it has ${plain(actual)}`,
    { cause: error },
  )
}

function plain(value: string): string {
  return /the value '(?<value>.*)' of type/s.exec(value)?.groups?.['value'] ?? value.replaceAll("'", '')
}

import type { Channel } from 'amqplib'
import { BrokerError } from '@zyqueue/core/broker'
import type { ConnectionState } from './connection/connection-state.ts'
import { messageOf, REPLY, replyCode } from './errors.ts'
import { conditionsOf, dueNameOf, dueQueueOf, NO_DELIVERY_LIMIT, withoutLimit, type Plan } from './options.ts'
import type { DeclareChannel } from './connection/declare-channel.ts'

export function deadQueueOf(queue: string): string {
  return `${queue}.dead`
}

/**
 * Declares a queue, its exchange and bindings, and what its settlements need: a queue for its dead letters, and the delay levels.
 * The queue of a temporary plan is declared by its consumer. Rejects with `ZYQ_TOPOLOGY` if one exists that differs, and changes
 * nothing then.
 */
export async function declare(state: ConnectionState, plan: Plan): Promise<void> {
  const { declareChannel } = state
  const { name, route, queueType, temporary, passive } = plan
  const steps = temporary ? [declareExchange] : [declareExchange, declareQueue]
  const mayBeForgotten = queueType === 'quorum' && declareChannel.forgetsNewQueues
  const asks = !temporary && (route.exchange !== '' || mayBeForgotten)
  const exists = asks && (await countsOf(declareChannel, name)) !== undefined
  // First what exists: if it differs, nothing has been declared.
  if (exists) steps.reverse()
  const work = async (channel: Channel): Promise<void> => {
    for (const step of steps) await step(channel, plan)
    if (!temporary && !passive) await bind(channel, name, plan)
  }
  const makesQuorumQueue = queueType === 'quorum' && !exists && !temporary && !passive
  await (makesQuorumQueue ? declareChannel.make(work) : declareChannel.run(work))
  try {
    await declareDead(declareChannel, plan)
    if (!temporary) await state.delayLevels.declare({ exchange: '', queue: dueQueueOf(plan) })
    if (route.exchange !== '') await state.delayLevels.declare({ exchange: route.exchange, queue: '' })
  } catch (error) {
    // The user of a topology that others declare may lack the permission. Then delays and dead letters fail, and nothing else.
    if (!passive || replyCode(error) !== REPLY.ACCESS_REFUSED) throw error
  }
}

/** Declares the queue of one consumer, which ends with its connection. Resolves to the name that the server chose. */
export async function declareTemporary(channel: Channel, plan: Plan): Promise<string> {
  const { queue } = await channel.assertQueue('', { exclusive: true, durable: false })
  await bind(channel, queue, plan)
  return queue
}

/** Binds an existing queue to its exchange. A temporary `queue` has another name than its plan. */
export async function bindAgain(declareChannel: DeclareChannel, plan: Plan, queue: string): Promise<void> {
  if (plan.route.exchange === '' || plan.passive) return
  await declareChannel.run(async (channel) => {
    await declareExchange(channel, plan)
    await bind(channel, queue, plan)
  })
}

async function declareDead(declareChannel: DeclareChannel, { name, queueType }: Plan): Promise<void> {
  const queue = deadQueueOf(name)
  if ((await countsOf(declareChannel, queue)) !== undefined) return
  const limit = queueType === 'quorum' ? { 'x-delivery-limit': NO_DELIVERY_LIMIT } : {}
  const options = { durable: true, arguments: { 'x-queue-type': queueType, ...limit } }
  await declareChannel[queueType === 'quorum' ? 'make' : 'run'](async (channel) => {
    await channel.assertQueue(queue, options)
  })
}

/** Ready messages and consumers of a queue. Undefined if it does not exist. */
export async function countsOf(
  declareChannel: DeclareChannel,
  queue: string,
): Promise<{ readonly messageCount: number; readonly consumerCount: number } | undefined> {
  try {
    return await declareChannel.run((channel) => channel.checkQueue(queue))
  } catch (error) {
    if (replyCode(error) === REPLY.NOT_FOUND) return undefined
    throw error
  }
}

/** The queue, and its `.due` queue if that exists, also if another process declared it. */
export async function sourcesOf(declareChannel: DeclareChannel, { name }: Plan): Promise<readonly string[]> {
  const due = dueNameOf(name)
  return (await countsOf(declareChannel, due)) === undefined ? [name] : [name, due]
}

/** Whether a queue that has a consumer may have messages for it. */
export async function mayHaveReady(declareChannel: DeclareChannel, queue: string): Promise<boolean> {
  const counts = await countsOf(declareChannel, queue)
  // If a quorum queue does not answer in time, the server reports no messages and no consumers.
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
 * The error of a declaration that differs, for people. The server's text, from 3.10 to 4.x: `inequivalent arg 'x-max-length' for
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

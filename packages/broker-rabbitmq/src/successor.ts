/** What is published in the place of a delivery before that is acknowledged. Each rejects where its way cannot be made ready. */
import type { Headers } from '@zyqueue/core/broker'
import type { RabbitDelivery } from './delivery.ts'
import { OWN_HEADER, propertiesAgain } from './message.ts'
import type { QueueType } from './options.ts'
import type { Outgoing } from './lane.ts'
import type { Session } from './session.ts'
import { deadQueueOf, declareDead } from './topology.ts'

/** The same job again, in its own queue, after so many milliseconds; with other headers where some are given. */
export async function copyOf(
  session: () => Session,
  delivery: RabbitDelivery,
  delayMs: number,
  headers: Headers | undefined,
): Promise<Outgoing> {
  const { queue, message, priority } = delivery
  const routingKey = delayMs > 0 ? delivery.due : delivery.source
  const destination = { exchange: '', queue: routingKey }
  const departure =
    delayMs > 0 ? await session().ladder.prepare(delayMs, priority, destination) : { exchange: '', headers: {} }
  const properties = propertiesAgain(queue, delivery, message, { headers, own: departure.headers })
  return { exchange: departure.exchange, routingKey, body: message.content, properties }
}

/** The job as a dead letter; makes the queue for those where there is none yet, of the type of the job's own. */
export async function deadLetterOf(
  session: () => Session,
  delivery: RabbitDelivery,
  queueType: QueueType,
  reason: string,
  headers: Headers | undefined,
): Promise<Outgoing> {
  const { queue, message } = delivery
  const { deadQueues, workbench } = session()
  if (!deadQueues.has(queue)) {
    await declareDead(workbench, queue, queueType)
    deadQueues.add(queue)
  }
  const own = { [OWN_HEADER.reason]: reason, [OWN_HEADER.diedAt]: String(Date.now()) }
  const properties = propertiesAgain(queue, delivery, message, { headers, own })
  return { exchange: '', routingKey: deadQueueOf(queue), body: message.content, properties }
}

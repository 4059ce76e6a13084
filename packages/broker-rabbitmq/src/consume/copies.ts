/** The messages that are published in place of a delivery before it is acked. */
import type { Headers } from '@zyqueue/core/broker'
import { OWN_HEADER, propertiesOfCopy } from '../message.ts'
import { dueQueueOf } from '../options.ts'
import type { DelayLevels } from '../publish/delay-levels.ts'
import type { Copy } from '../publish/restorer.ts'
import { deadQueueOf } from '../topology.ts'
import type { RabbitDelivery } from './delivery.ts'

/** The same job in its own queue after a delay, with other headers if they are given. */
export function copyOf(levels: DelayLevels, delivery: RabbitDelivery, delayMs: number, headers?: Headers): Copy {
  const { message, priority, received, queue, subscription } = delivery
  const { plan, source } = subscription
  const body = message.content
  if (delayMs <= 0) {
    const properties = propertiesOfCopy(queue, received, message, { headers })
    return { queue, exchange: '', routingKey: source, body, properties }
  }
  const { exchange, headers: own } = levels.departureOf(delayMs, priority)
  const routingKey = plan.temporary ? source : dueQueueOf(plan)
  return { queue, exchange, routingKey, body, properties: propertiesOfCopy(queue, received, message, { headers, own }) }
}

export function deadLetterOf(delivery: RabbitDelivery, reason: string, headers?: Headers): Copy {
  const { queue, message, received } = delivery
  const own = { [OWN_HEADER.reason]: reason, [OWN_HEADER.diedAt]: String(Date.now()) }
  const properties = propertiesOfCopy(queue, received, message, { headers, own })
  return { queue, exchange: '', routingKey: deadQueueOf(queue), body: message.content, properties }
}

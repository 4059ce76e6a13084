import type { Message } from 'amqplib'
import type { Delivery } from '@zyqueue/core/broker'
import { receivedFrom, type Received } from '../message.ts'
import type { Subscription } from './subscription.ts'

/** A job with the data that its settlement needs. */
export interface RabbitDelivery extends Delivery {
  readonly message: Message
  readonly subscription: Subscription
  readonly received: Received
}

export function deliveryOf(subscription: Subscription, message: Message): RabbitDelivery {
  const queue = subscription.plan.name
  const received = receivedFrom(queue, message)
  const { id, headers, priority, deliveryCount, storedAtMs, undecodable } = received
  return {
    id,
    queue,
    body: message.content,
    headers,
    priority,
    deliveryCount,
    ...(storedAtMs !== undefined && { storedAtMs }),
    ...(undecodable !== undefined && { undecodable }),
    message,
    subscription,
    received,
  }
}

/** How long the rest of a job's delay is, in ms. At most 0 if it has none. */
export function restOfDelay({ received: { readyAtMs = 0 } }: RabbitDelivery): number {
  return readyAtMs - Date.now()
}

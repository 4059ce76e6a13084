import type { ConsumeMessage } from 'amqplib'
import type { Delivery, Headers } from '@zyqueue/core/broker'
import { received } from './message.ts'

/** A job in hand: what core sees, and what it takes to settle it. */
export class RabbitDelivery implements Delivery {
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly priority: number
  readonly deliveryCount: number
  readonly storedAtMs?: number
  readonly undecodable?: string
  readonly message: ConsumeMessage
  /** The queue's own name, where `queue` is what core knows it by. */
  readonly source: string
  /** The queue in which its delayed copies arrive. */
  readonly due: string
  /** Grows with each delivery of a channel. */
  readonly tag: number
  /** `buffered` until core asks for it; `settling` from the first attempt to settle it on. */
  mode: 'buffered' | 'in hand' | 'settling' = 'buffered'

  constructor(queue: string, source: string, due: string, message: ConsumeMessage) {
    const { id, headers, priority, deliveryCount, storedAtMs, undecodable } = received(queue, message)
    this.id = id
    this.queue = queue
    this.body = message.content
    this.headers = headers
    this.priority = priority
    this.deliveryCount = deliveryCount
    if (storedAtMs !== undefined) this.storedAtMs = storedAtMs
    if (undecodable !== undefined) this.undecodable = undecodable
    this.message = message
    this.source = source
    this.due = due
    this.tag = message.fields.deliveryTag
  }
}

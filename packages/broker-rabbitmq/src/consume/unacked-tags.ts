import type { Channel } from 'amqplib'
import type { RabbitDelivery } from './delivery.ts'

/** The deliveries of a channel that are not acked, in the order in which they came. */
export class UnackedTags {
  readonly #open = new Map<number, RabbitDelivery>()

  get deliveries(): readonly RabbitDelivery[] {
    return [...this.#open.values()]
  }

  has(delivery: RabbitDelivery): boolean {
    return this.#open.has(tagOf(delivery))
  }

  add(delivery: RabbitDelivery): void {
    this.#open.set(tagOf(delivery), delivery)
    delivery.subscription.noteArrival(consumerTagOf(delivery))
  }

  clear(): void {
    this.#open.clear()
  }

  /** One frame acks all deliveries before the first that stays open. */
  ack(channel: Channel, deliveries: readonly RabbitDelivery[]): void {
    const tags = new Set(deliveries.map(tagOf))
    let last: RabbitDelivery | undefined
    for (const [tag, delivery] of this.#open) {
      if (!tags.delete(tag)) break
      this.#remove(delivery)
      last = delivery
    }
    if (last !== undefined) channel.ack(last.message, true)
    for (const delivery of deliveries) {
      if (tags.has(tagOf(delivery)) && this.#remove(delivery)) channel.ack(delivery.message)
    }
  }

  /** Gives back to the queue, which counts a delivery. */
  requeue(channel: Channel, deliveries: readonly RabbitDelivery[]): void {
    for (const delivery of deliveries) if (this.#remove(delivery)) channel.nack(delivery.message, false, true)
  }

  #remove(delivery: RabbitDelivery): boolean {
    if (!this.#open.delete(tagOf(delivery))) return false
    delivery.subscription.noteSettled(consumerTagOf(delivery))
    return true
  }
}

/** Grows with each delivery of a channel. */
function tagOf({ message }: RabbitDelivery): number {
  return message.fields.deliveryTag
}

/** Undefined if the job was polled. */
function consumerTagOf({ message }: RabbitDelivery): string | undefined {
  return message.fields.consumerTag
}

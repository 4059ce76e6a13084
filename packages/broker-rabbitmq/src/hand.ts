import type { Channel } from 'amqplib'
import type { RabbitDelivery } from './delivery.ts'

/** The deliveries of a channel that are not acknowledged yet, in the order in which they came. */
export class Hand {
  readonly #open = new Map<number, RabbitDelivery>()

  get deliveries(): Iterable<RabbitDelivery> {
    return this.#open.values()
  }

  has(delivery: RabbitDelivery): boolean {
    return this.#open.get(delivery.tag) === delivery
  }

  /** How many of them came to one AMQP consumer. */
  countOf(consumerTag: string): number {
    let count = 0
    for (const { message } of this.#open.values()) if (message.fields.consumerTag === consumerTag) count++
    return count
  }

  add(delivery: RabbitDelivery): void {
    this.#open.set(delivery.tag, delivery)
  }

  clear(): void {
    this.#open.clear()
  }

  /** Acknowledges with as few frames as may be: all that come before anything else in hand need only one. */
  ack(channel: Channel, deliveries: readonly RabbitDelivery[]): void {
    const tags = new Set(deliveries.map(({ tag }) => tag))
    let last: RabbitDelivery | undefined
    for (const [tag, delivery] of this.#open) {
      if (!tags.delete(tag)) break
      this.#open.delete(tag)
      last = delivery
    }
    if (last !== undefined) channel.ack(last.message, true)
    for (const tag of tags) {
      const delivery = this.#open.get(tag)
      if (delivery === undefined) continue
      this.#open.delete(tag)
      channel.ack(delivery.message)
    }
  }

  /** Gives back to the queue, which counts it as a delivery. */
  requeue(channel: Channel, deliveries: readonly RabbitDelivery[]): void {
    for (const delivery of deliveries) if (this.#open.delete(delivery.tag)) channel.nack(delivery.message, false, true)
  }
}

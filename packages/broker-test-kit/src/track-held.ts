import type { Consumer, Delivery } from '@zyqueue/core/broker'

/** Wraps a consumer and keeps its unsettled deliveries in `held`. */
export function trackHeld(consumer: Consumer, held: Set<Delivery>): Consumer {
  const settled = (deliveries: readonly Delivery[]): void => {
    for (const delivery of deliveries) held.delete(delivery)
  }
  return {
    async receive(max, options) {
      const deliveries = await consumer.receive(max, options)
      for (const delivery of deliveries) held.add(delivery)
      return deliveries
    },
    ack(deliveries) {
      settled(deliveries)
      return consumer.ack(deliveries)
    },
    release(releases) {
      settled(releases.map(({ delivery }) => delivery))
      return consumer.release(releases)
    },
    reject(rejections) {
      settled(rejections.map(({ delivery }) => delivery))
      return consumer.reject(rejections)
    },
    close: () => consumer.close(),
  }
}

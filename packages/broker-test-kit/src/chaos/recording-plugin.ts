import type { Broker, BrokerPlugin, Consumer, ConsumeOptions, Delivery, SettleResult } from '@zyqueue/core/broker'
import { now, type ChaosRecord } from './records.ts'

/** Wraps a plugin: its brokers record the deliveries of their consumers and the results of settlements. */
export function recordingPlugin(plugin: BrokerPlugin, record: (record: ChaosRecord) => void): BrokerPlugin {
  return { ...plugin, create: (options) => recordingBroker(plugin.create(options), record) }
}

function recordingBroker(broker: Broker, record: (record: ChaosRecord) => void): Broker {
  const consume = async (options: ConsumeOptions): Promise<Consumer> =>
    recordingConsumer(await broker.consume(options), options.consumerId, record)
  // All other members belong to the broker and need it as `this`.
  return new Proxy(broker, {
    get(target, name) {
      if (name === 'consume') return consume
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function recordingConsumer(consumer: Consumer, id: string, record: (record: ChaosRecord) => void): Consumer {
  const noteSettled = (
    verb: 'ack' | 'release' | 'reject',
    deliveries: readonly Delivery[],
    results: readonly SettleResult[],
  ): readonly SettleResult[] => {
    for (const [index, { status }] of results.entries()) {
      const delivery = deliveries[index]
      if (delivery !== undefined) {
        record({ type: 'settled', id: delivery.id, consumer: id, verb, status, at: now() })
      }
    }
    return results
  }
  const deliveryOf = ({ delivery }: { readonly delivery: Delivery }): Delivery => delivery
  const recorded: Consumer = {
    async receive(max, options) {
      const askedAt = now()
      const deliveries = await consumer.receive(max, options)
      for (const delivery of deliveries)
        record({ type: 'delivered', id: delivery.id, consumer: id, askedAt, at: now() })
      return deliveries
    },
    ack: async (deliveries) => noteSettled('ack', deliveries, await consumer.ack(deliveries)),
    release: async (releases) => noteSettled('release', releases.map(deliveryOf), await consumer.release(releases)),
    reject: async (rejections) => noteSettled('reject', rejections.map(deliveryOf), await consumer.reject(rejections)),
    close: () => consumer.close(),
  }
  return recorded
}

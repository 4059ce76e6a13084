import type {
  Broker,
  BrokerAdmin,
  Consumer,
  ConsumeOptions,
  DeadLetters,
  Delivery,
  OutboundMessage,
} from '@zyqueue/core/broker'

/** A broker that does as the given one, but for what is changed. */
export function altered(broker: Broker, changes: Partial<Broker>): Broker {
  return {
    name: broker.name,
    capabilities: broker.capabilities,
    admin: broker.admin,
    connect: (options) => broker.connect(options),
    declare: (queues) => broker.declare(queues),
    publish: (batch) => broker.publish(batch),
    consume: (options) => broker.consume(options),
    renew: async (ids, leaseMs) => (await broker.renew?.(ids, leaseMs)) ?? [],
    reclaim: async (id, charged) => broker.reclaim?.(id, charged),
    ...(broker.call && { call: broker.call.bind(broker) }),
    errorCode: (error) => broker.errorCode(error),
    close: () => broker.close(),
    ...changes,
  }
}

export function alteredAdmin(broker: Broker, changes: Partial<BrokerAdmin>): Broker {
  const { admin } = broker
  return altered(broker, {
    admin: {
      deadLetters: admin.deadLetters,
      queues: () => admin.queues(),
      purge: (queue) => admin.purge(queue),
      check: () => admin.check(),
      version: () => admin.version(),
      ...(admin.workers && { workers: admin.workers.bind(admin) }),
      ...(admin.jobs && { jobs: admin.jobs.bind(admin) }),
      ...(admin.cancel && { cancel: admin.cancel.bind(admin) }),
      ...changes,
    },
  })
}

export function alteredDeadLetters(broker: Broker, changes: Partial<DeadLetters>): Broker {
  const { deadLetters } = broker.admin
  return alteredAdmin(broker, {
    deadLetters: {
      list: (queue, options) => deadLetters.list(queue, options),
      requeue: (queue, ids) => deadLetters.requeue(queue, ids),
      purge: (queue, ids) => deadLetters.purge(queue, ids),
      ...changes,
    },
  })
}

/** A broker whose consumers do as the given one's, but for what is changed. */
export function alteredConsumers(
  broker: Broker,
  changesOf: (consumer: Consumer, options: ConsumeOptions) => Partial<Consumer>,
): Broker {
  return altered(broker, {
    async consume(options) {
      const consumer = await broker.consume(options)
      return {
        receive: (max, { signal }) => consumer.receive(max, { signal }),
        ack: (deliveries) => consumer.ack(deliveries),
        ...(consumer.answer && { answer: consumer.answer.bind(consumer) }),
        ...(consumer.tell && { tell: consumer.tell.bind(consumer) }),
        release: (releases) => consumer.release(releases),
        reject: (rejections) => consumer.reject(rejections),
        close: () => consumer.close(),
        ...changesOf(consumer, options),
      }
    },
  })
}

/** A broker that stores jobs anew under other ids, and shows the ids that they had. */
export function alteredIds(broker: Broker): {
  readonly broker: Broker
  storeAnew(messages: readonly OutboundMessage[]): Promise<void>
} {
  let stored = 0
  return {
    broker: alteredDeliveries(broker, (delivery) => ({ ...delivery, id: idOf(delivery) })),
    async storeAnew(messages) {
      await broker.publish(messages.map((message) => ({ ...message, id: `${idOf(message)}~${++stored}` })))
    },
  }
}

function idOf({ id }: { readonly id: string }): string {
  return id.replace(/~\d+$/, '')
}

/** A broker whose deliveries are seen changed; they are settled as the ones that they were made of. */
export function alteredDeliveries(broker: Broker, change: (delivery: Delivery) => Delivery): Broker {
  return alteredConsumers(broker, (consumer) => {
    const originals = new WeakMap<Delivery, Delivery>()
    const originalOf = (delivery: Delivery): Delivery => originals.get(delivery) ?? delivery
    return {
      async receive(max, options) {
        const deliveries = await consumer.receive(max, options)
        return deliveries.map((original) => {
          const seen = change(original)
          originals.set(seen, original)
          return seen
        })
      },
      ack: (deliveries) => consumer.ack(deliveries.map(originalOf)),
      answer: async (all) =>
        (await consumer.answer?.(all.map((one) => ({ ...one, delivery: originalOf(one.delivery) })))) ?? [],
      tell: (delivery, news) => consumer.tell?.(originalOf(delivery), news),
      release: (all) => consumer.release(all.map((one) => ({ ...one, delivery: originalOf(one.delivery) }))),
      reject: (all) => consumer.reject(all.map((one) => ({ ...one, delivery: originalOf(one.delivery) }))),
    }
  })
}

import type {
  Broker,
  BrokerAdmin,
  Calls,
  Consumer,
  ConsumeOptions,
  DeadLetters,
  Delivery,
  OutboundMessage,
  RenewableLeases,
} from '@zyqueue/core/broker'

/** A broker like the given one with some members replaced. */
export function alterBroker(broker: Broker, changes: Partial<Broker>): Broker {
  return {
    name: broker.name,
    capabilities: broker.capabilities,
    admin: broker.admin,
    connect: () => broker.connect(),
    declare: (queues) => broker.declare(queues),
    publish: (batch) => broker.publish(batch),
    consume: (options) => broker.consume(options),
    leases: broker.leases,
    ...(broker.calls && { calls: broker.calls }),
    errorCode: (error) => broker.errorCode(error),
    close: () => broker.close(),
    ...changes,
  }
}

/** A broker like the given one with changed renewable leases. */
export function alterLeases(broker: Broker, changesOf: (leases: RenewableLeases) => Partial<RenewableLeases>): Broker {
  const { leases } = broker
  if (leases.kind !== 'renewable') return broker
  return alterBroker(broker, {
    leases: {
      kind: 'renewable',
      renew: (ids, leaseMs) => leases.renew(ids, leaseMs),
      reclaim: (id, lost) => leases.reclaim(id, lost),
      ...changesOf(leases),
    },
  })
}

/** A broker like the given one with changed `calls`, if it has any. */
export function alterCalls(broker: Broker, changes: Partial<Calls>): Broker {
  const { calls } = broker
  if (calls === undefined) return broker
  return alterBroker(broker, {
    calls: {
      call: (message, options) => calls.call(message, options),
      answer: (answers) => calls.answer(answers),
      sendUpdate: (delivery, update) => calls.sendUpdate(delivery, update),
      ...changes,
    },
  })
}

export function alterAdmin(broker: Broker, changes: Partial<BrokerAdmin>): Broker {
  const { admin } = broker
  return alterBroker(broker, {
    admin: {
      deadLetters: admin.deadLetters,
      queues: (names) => admin.queues(names),
      purge: (queue) => admin.purge(queue),
      check: () => admin.check(),
      version: () => admin.version(),
      ...(admin.workers && { workers: admin.workers.bind(admin) }),
      ...(admin.jobs && { jobs: admin.jobs.bind(admin) }),
      ...(admin.cancel && { cancel: admin.cancel.bind(admin) }),
      ...(admin.promote && { promote: admin.promote.bind(admin) }),
      ...changes,
    },
  })
}

export function alterDeadLetters(broker: Broker, changes: Partial<DeadLetters>): Broker {
  const { deadLetters } = broker.admin
  return alterAdmin(broker, {
    deadLetters: {
      list: (queue, options) => deadLetters.list(queue, options),
      requeue: (queue, ids) => deadLetters.requeue(queue, ids),
      purge: (queue, ids) => deadLetters.purge(queue, ids),
      ...changes,
    },
  })
}

/** A broker like the given one whose consumers have some methods replaced. */
export function alterConsumers(
  broker: Broker,
  changesOf: (consumer: Consumer, options: ConsumeOptions) => Partial<Consumer>,
): Broker {
  return alterBroker(broker, {
    async consume(options) {
      const consumer = await broker.consume(options)
      return {
        receive: (max, { signal }) => consumer.receive(max, { signal }),
        ack: (deliveries) => consumer.ack(deliveries),
        release: (releases) => consumer.release(releases),
        reject: (rejections) => consumer.reject(rejections),
        close: () => consumer.close(),
        ...changesOf(consumer, options),
      }
    },
  })
}

/** A broker that can store copies of jobs under other ids and delivers them with their original ids. */
export function alterIds(broker: Broker): {
  readonly broker: Broker
  storeCopies(messages: readonly OutboundMessage[]): Promise<void>
} {
  let stored = 0
  return {
    broker: alterDeliveries(broker, (delivery) => ({ ...delivery, id: idOf(delivery) })),
    async storeCopies(messages) {
      await broker.publish(messages.map((message) => ({ ...message, id: `${idOf(message)}~${++stored}` })))
    },
  }
}

function idOf({ id }: { readonly id: string }): string {
  return id.replace(/~\d+$/, '')
}

/** A broker that changes deliveries. Settling a changed delivery settles its original. */
export function alterDeliveries(broker: Broker, change: (delivery: Delivery) => Delivery): Broker {
  const originals = new WeakMap<Delivery, Delivery>()
  const originalOf = (delivery: Delivery): Delivery => originals.get(delivery) ?? delivery
  const { calls } = broker
  const answering =
    calls === undefined
      ? broker
      : alterCalls(broker, {
          answer: (all) => calls.answer(all.map((one) => ({ ...one, delivery: originalOf(one.delivery) }))),
          sendUpdate: (delivery, update) => calls.sendUpdate(originalOf(delivery), update),
        })
  return alterConsumers(answering, (consumer) => {
    return {
      async receive(max, options) {
        const deliveries = await consumer.receive(max, options)
        return deliveries.map((original) => {
          const changed = change(original)
          originals.set(changed, original)
          return changed
        })
      },
      ack: (deliveries) => consumer.ack(deliveries.map(originalOf)),
      release: (all) => consumer.release(all.map((one) => ({ ...one, delivery: originalOf(one.delivery) }))),
      reject: (all) => consumer.reject(all.map((one) => ({ ...one, delivery: originalOf(one.delivery) }))),
    }
  })
}

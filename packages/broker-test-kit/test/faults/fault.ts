import type { Broker, Delivery, OutboundMessage } from '@zyqueue/core/broker'
import { alterBroker, alterDeliveries } from '../alter.ts'
import type { MemoryEngine } from '../memory-engine.ts'
import type { MemoryConnection } from '../memory-connection.ts'

/** Creates a function that breaks each broker of one store. State in the outer function is shared by the brokers of a store. */
export type Breaks = () => (broker: Broker, engine: MemoryEngine, connection: MemoryConnection) => Broker

/** Broken brokers by their fault, each with the tests that must catch it. */
export type Faults = Readonly<Record<string, { readonly caughtBy: readonly string[]; readonly breaks: Breaks }>>

export function changingMessages(change: (message: OutboundMessage) => OutboundMessage): Breaks {
  return () => (broker) => alterBroker(broker, { publish: (batch) => broker.publish(batch.map(change)) })
}

export function changingDeliveries(change: (delivery: Delivery) => Delivery): Breaks {
  return () => (broker) => alterDeliveries(broker, change)
}

/** Never settles. */
export function hang(): Promise<never> {
  return new Promise(() => undefined)
}

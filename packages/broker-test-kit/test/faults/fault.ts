import type { Broker, Delivery, OutboundMessage } from '@zyqueue/core/broker'
import { altered, alteredDeliveries } from '../altered.ts'
import type { MemoryEngine } from '../memory-engine.ts'
import type { Wire } from '../wire.ts'

/** Makes what breaks the brokers of one store; what those share is made anew for each store. */
export type Breaks = () => (broker: Broker, engine: MemoryEngine, wire: Wire) => Broker

/** Broken brokers, by what they do wrong, each with the tests that must see it. */
export type Faults = Readonly<Record<string, { readonly caughtBy: readonly string[]; readonly breaks: Breaks }>>

export function changingMessages(change: (message: OutboundMessage) => OutboundMessage): Breaks {
  return () => (broker) => altered(broker, { publish: (batch) => broker.publish(batch.map(change)) })
}

export function changingDeliveries(change: (delivery: Delivery) => Delivery): Breaks {
  return () => (broker) => alteredDeliveries(broker, change)
}

/** Never settles. */
export function hang(): Promise<never> {
  return new Promise(() => undefined)
}

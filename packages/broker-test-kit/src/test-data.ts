import { randomUUID } from 'node:crypto'
import type { ConsumeOptions, Headers, OutboundMessage, QueueSpec } from '@zyqueue/core/broker'

/** A lease that does not end during a test. */
export const longLeaseMs = 600_000

let queuesNamed = 0

export function queueSpec(name: string = `kit-${randomUUID().slice(0, 8)}-${++queuesNamed}`): QueueSpec {
  return { name, options: {} }
}

export function newConsumerId(): string {
  return `kit-${randomUUID()}`
}

export function consumeOptions(queues: readonly QueueSpec[]): ConsumeOptions {
  return {
    queues,
    prefetch: 10,
    leaseMs: longLeaseMs,
    consumerId: newConsumerId(),
    client: { name: 'kit.1', host: 'localhost', pid: process.pid },
  }
}

export function messageTo(queue: QueueSpec, fields: Partial<OutboundMessage> = {}): OutboundMessage {
  return {
    queue: queue.name,
    id: randomUUID(),
    body: bytesOf('{"kit":true}'),
    headers: {},
    delayMs: 0,
    priority: 4,
    ...fields,
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

export function textOf({ body }: { readonly body: Uint8Array }): string {
  return new TextDecoder().decode(body)
}

/** Headers as a sorted list, so that `__proto__` is compared like any other key. */
export function entriesOf(headers: Headers): readonly (readonly [string, string])[] {
  return Object.entries(headers).toSorted(([a], [b]) => (a < b ? -1 : 1))
}

/** The numbers from 0 to `count - 1` as texts, for bodies. */
export function numericBodies(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => String(index))
}

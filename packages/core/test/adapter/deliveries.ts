import type { Delivery } from '../../src/contract/message.ts'

export function deliveryOf(id: string, queue = 'q'): Delivery {
  return { id, queue, body: new Uint8Array(), headers: {}, priority: 4, deliveryCount: 0 }
}

/** Columns are checked on their way in: a file can be damaged, and types must not lie about it. */
import { BrokerError } from '@zyqueue/core/broker'
import type { SqlValue } from './driver.ts'

export function integer(value: SqlValue | undefined): number {
  return typeof value === 'number' ? value : damaged('an integer', value)
}

export function text(value: SqlValue | undefined): string {
  return typeof value === 'string' ? value : damaged('text', value)
}

/** The bytes as a Buffer over the same memory: it reads text faster than any other view. */
export function bytes(value: SqlValue | undefined): Buffer {
  if (Buffer.isBuffer(value)) return value
  return value instanceof Uint8Array
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : damaged('bytes', value)
}

function damaged(expected: string, value: unknown): never {
  throw new BrokerError('ZYQ_STORAGE_DAMAGED', `The queue file is damaged: ${expected} expected, not ${typeof value}`)
}

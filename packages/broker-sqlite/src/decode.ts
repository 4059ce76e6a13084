/** Reads columns and checks their types: a file can be damaged. */
import { BrokerError } from '@zyqueue/core/broker'
import type { SqlValue } from './driver.ts'

export function integer(value: SqlValue | undefined): number {
  return typeof value === 'number' ? value : damaged('an integer', value)
}

export function text(value: SqlValue | undefined): string {
  return typeof value === 'string' ? value : damaged('text', value)
}

/** Text that another program may have written, selected as a BLOB: libsql ends the process at text that is not UTF-8. */
export function foreignText(value: SqlValue | undefined): string {
  return rawBytes(value).toString('utf8')
}

/** The bytes of any value, as a Buffer over the same memory if it can be: it reads text faster than any other view. */
export function rawBytes(value: SqlValue | undefined): Buffer {
  if (Buffer.isBuffer(value)) return value
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  return Buffer.from(value === null || value === undefined ? '' : String(value))
}

/** SQL for an integer that another program may have written: brought into a range that a JavaScript number holds. */
export function clamped(column: string, from: number, to: number): string {
  return `min(max(${column}, ${from}), ${to})`
}

/** SQL for a time that another program may have written, in milliseconds. */
export function clampedTime(column: string): string {
  return clamped(column, 0, Number.MAX_SAFE_INTEGER)
}

function damaged(expected: string, value: unknown): never {
  throw new BrokerError('ZYQ_STORAGE_DAMAGED', `The queue file is damaged: ${expected} expected, not ${typeof value}`)
}

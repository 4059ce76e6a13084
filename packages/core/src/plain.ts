import { clipText, isError, messageOf } from './errors.ts'

/** Deeper than any log line needs to be read. */
const MAX_DEPTH = 32

/**
 * A copy of any value that `JSON.stringify` takes. Errors are written out; what cannot be read is described by a word, and the
 * rest of the value stays. Never throws.
 */
export function plain(value: unknown): unknown {
  return copy(value, [])
}

/** A property of a foreign object, or a word about why it cannot be read. Never throws. */
export function property(holder: object, key: string): unknown {
  try {
    const value: unknown = Reflect.get(holder, key)
    return typeof value === 'string' ? clipText(value) : value
  } catch (error) {
    return unreadable(error)
  }
}

function copy(value: unknown, holders: readonly object[]): unknown {
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value)
  if (typeof value === 'function') return '[function]'
  if (typeof value !== 'object' || value === null) return value
  if (holders.includes(value)) return '[circular]'
  if (holders.length >= MAX_DEPTH) return '[too deep]'
  try {
    return copyObject(value, [...holders, value])
  } catch (error) {
    return unreadable(error)
  }
}

function copyObject(value: object, holders: readonly object[]): unknown {
  if (isError(value)) return copyError(value, holders)
  if ('toJSON' in value && typeof value.toJSON === 'function') return copy(value.toJSON(), holders)
  if (Array.isArray(value)) return value.map((item) => copy(item, holders))
  return copyKeys(value, Object.keys(value), holders)
}

function copyError(error: Error, holders: readonly object[]): object {
  const { name: type, ...rest } = copyKeys(error, ['name', 'code', 'message', 'stack', 'cause', 'errors'], holders)
  return { type, ...rest }
}

function copyKeys(value: object, keys: readonly string[], holders: readonly object[]): Record<string, unknown> {
  return Object.fromEntries(keys.map((key) => [key, copy(property(value, key), holders)]))
}

function unreadable(error: unknown): string {
  return `[unreadable: ${messageOf(error)}]`
}

import { clipText, messageOf } from './errors.ts'

/** Reads a property of a foreign object. Returns a short text if it cannot be read. Never throws. */
export function property(holder: object, key: string): unknown {
  try {
    const value: unknown = Reflect.get(holder, key)
    return typeof value === 'string' ? clipText(value) : value
  } catch (error) {
    return unreadable(error)
  }
}

/** The text that stands for a value that cannot be read. */
export function unreadable(error: unknown): string {
  return `[unreadable: ${messageOf(error)}]`
}

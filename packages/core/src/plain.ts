import { errorFields } from './error-fields.ts'
import { isError } from './errors.ts'
import { property, unreadable } from './property.ts'

/** Objects that are nested deeper are not copied. */
const MAX_DEPTH = 32
/**
 * After this many values, objects are not copied. A shared object counts each time, so that few objects cannot make a
 * huge line.
 */
const MAX_VALUES = 10_000

/** The position of a value: the objects around it, and the number of values that may still be copied. */
interface Place {
  readonly holders: readonly object[]
  readonly budget: { left: number }
}

/**
 * Copies any value into one that `JSON.stringify` accepts. Errors become `ErrorFields`, and unreadable parts a short text.
 * Never throws.
 */
export function plain(value: unknown): unknown {
  return copy(value, { holders: [], budget: { left: MAX_VALUES } })
}

function copy(value: unknown, { holders, budget }: Place): unknown {
  budget.left--
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value)
  if (typeof value === 'function') return '[function]'
  if (typeof value !== 'object' || value === null) return value
  if (holders.includes(value)) return '[circular]'
  if (holders.length >= MAX_DEPTH) return '[too deep]'
  if (budget.left < 0) return '[too large]'
  try {
    return copyObject(value, { holders: [...holders, value], budget })
  } catch (error) {
    return unreadable(error)
  }
}

function copyObject(value: object, place: Place): unknown {
  if (isError(value)) return errorFields(value)
  if ('toJSON' in value && typeof value.toJSON === 'function') return copy(value.toJSON(), place)
  if (Array.isArray(value)) return value.map((item) => copy(item, place))
  return copyKeys(value, Object.keys(value), place)
}

function copyKeys(value: object, keys: readonly string[], place: Place): Record<string, unknown> {
  return Object.fromEntries(keys.map((key) => [key, copy(property(value, key), place)]))
}

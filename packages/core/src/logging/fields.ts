import { clipText, isError, messageOf } from '../errors.ts'
import { property, unreadable } from '../property.ts'

/** The fields of a line. Without a prototype: a key may be `__proto__`. */
export type Fields = Readonly<Record<string, unknown>>

export const NO_FIELDS: Fields = Object.freeze(Object.create(null))

/**
 * Copies `fields` and adds more. A field of `fields` is never replaced: another value of the same name is added with an
 * underscore, so that the caller of a logger cannot change what the logger says itself.
 */
export function addFields(fields: Fields, more: object): Fields {
  const result: Record<string, unknown> = Object.assign(Object.create(null), fields)
  try {
    for (const key of Object.keys(more)) {
      const value = property(more, key)
      let name = key
      while (name in result && !Object.is(result[name], value)) name += '_'
      result[name] = value
    }
  } catch (error) {
    // A proxy may throw on any access.
    result['fields'] ??= unreadable(error)
  }
  return result
}

/** The fields and the message of a call. The first argument may be fields, an error or the message. */
export function readCall(first: unknown, message: unknown): { readonly fields: object; readonly message: string } {
  const text = message === undefined ? undefined : textOf(message)
  if (isError(first)) return { fields: { err: first }, message: text ?? messageOf(first) }
  if (typeof first === 'object' && first !== null) return { fields: first, message: text ?? '' }
  return { fields: NO_FIELDS, message: text ?? textOf(first) }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? clipText(value) : messageOf(value)
}

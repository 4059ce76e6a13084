import { types } from 'node:util'
import { CodecError, messageOf } from '../errors.ts'

/** The type error for data that JSON cannot carry. */
type NotJson<What extends string> = `Jobs are JSON, which has no ${What}`

/**
 * The data that a task accepts. A part that arrives as something else, such as a `Date` or a `Map`, has a type that no
 * value of it fits.
 */
export type JobData<Data> = 0 extends 1 & Data
  ? Data
  : Data extends string | number | boolean | null | undefined | void
    ? Data
    : Data extends bigint
      ? NotJson<'bigint'>
      : Data extends symbol
        ? NotJson<'symbol'>
        : Data extends (...values: never) => unknown
          ? NotJson<'function'>
          : Data extends Date
            ? NotJson<'Date'>
            : Data extends ReadonlyMap<unknown, unknown>
              ? NotJson<'Map'>
              : Data extends ReadonlySet<unknown>
                ? NotJson<'Set'>
                : Data extends PromiseLike<unknown>
                  ? NotJson<'promise'>
                  : Data extends ArrayBuffer | ArrayBufferView
                    ? NotJson<'bytes'>
                    : Data extends object
                      ? { [Key in keyof Data]: JobData<Data[Key]> }
                      : Data

/**
 * Writes a value as JSON, `null` for undefined. An object with `toJSON`, such as a `Date`, is written as its `toJSON` says.
 * Throws `CodecError` (`ZYQ_ENCODE`) that names the part that JSON would drop or turn into `{}` or `null`: `data.tags[2]`.
 */
export function toJsonText(value: unknown, name: string): string {
  if (value === undefined) return 'null'
  let text: string
  try {
    text = JSON.stringify(value)
    if (!mayChange(value)) return text
  } catch (error) {
    const found = faultOrUndefined(value, name)
    if (found !== undefined) throw refusal(found)
    throw new CodecError('ZYQ_ENCODE', `The ${name} cannot be written as JSON: ${messageOf(error)}`, { cause: error })
  }
  const found = faultOrUndefined(value, name)
  if (found !== undefined) throw refusal(found)
  return text ?? 'null'
}

/** True if JSON may change a part of the value. Runs for each job, so it creates no objects. */
function mayChange(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return false
    case 'number':
      return !Number.isFinite(value)
    case 'object':
      if (value === null) return false
      return isRecord(value) ? mayChangeField(value) : !Array.isArray(value) || mayChangeItem(value)
    default:
      return true
  }
}

function mayChangeItem(list: readonly unknown[]): boolean {
  // An index, because `for…of` costs more and `some` skips holes.
  for (let index = 0; index < list.length; index++) if (mayChange(list[index])) return true
  return false
}

function mayChangeField(value: Readonly<Record<string, unknown>>): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return true
  for (const key in value) {
    const field = value[key]
    if (field !== undefined && mayChange(field)) return true
  }
  return false
}

function isRecord(value: object): value is Record<string, unknown> {
  return !Array.isArray(value)
}

interface Fault {
  readonly path: string
  /** What the value is: `a Map`. */
  readonly what: string
  readonly remedy: string
}

function refusal({ path, what, remedy }: Fault): CodecError {
  return new CodecError('ZYQ_ENCODE', `${path} is ${what}, which JSON cannot carry. ${remedy}`)
}

function faultOrUndefined(value: unknown, path: string): Fault | undefined {
  try {
    return faultIn(value, path, [])
  } catch {
    // The value has a getter, a `toJSON` or a proxy that throws.
    return undefined
  }
}

function faultIn(value: unknown, path: string, holders: readonly unknown[]): Fault | undefined {
  if (typeof value === 'object' && value !== null) return faultInObject(value, path, holders)
  const fault = PRIMITIVE_FAULTS[typeof value]?.(value)
  return fault === undefined ? undefined : { path, what: fault[0], remedy: fault[1] }
}

const PRIMITIVE_FAULTS: Readonly<Record<string, (value: unknown) => readonly [string, string] | undefined>> = {
  number: (value) => (Number.isFinite(value) ? undefined : [String(value), 'Send null or a text.']),
  bigint: () => ['a bigint', 'Send String(value).'],
  function: () => ['a function', 'Remove it.'],
  symbol: () => ['a symbol', 'Remove it.'],
  undefined: () => ['undefined', 'Send null.'],
}

/** Objects of Node.js that JSON writes as `{}`, or with an entry for each byte. */
const OBJECT_FAULTS: readonly (readonly [(value: unknown) => boolean, string, string])[] = [
  [types.isMap, 'a Map', 'Send [...map] or Object.fromEntries(map).'],
  [types.isSet, 'a Set', 'Send [...set].'],
  [types.isPromise, 'a promise', 'Await it first.'],
  [types.isRegExp, 'a RegExp', 'Send its `source`.'],
  [types.isNativeError, 'an Error', 'Send its `message`.'],
  [types.isArrayBufferView, 'an array of bytes', "Send Buffer.from(value).toString('base64')."],
  [types.isAnyArrayBuffer, 'an ArrayBuffer', "Send Buffer.from(value).toString('base64')."],
]

function faultInObject(value: object, path: string, holders: readonly unknown[]): Fault | undefined {
  // JSON.stringify names the cycle.
  if (holders.includes(value)) return undefined
  const inside = [...holders, value]
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    const written: unknown = value.toJSON('')
    if (written === null && types.isDate(value)) return { path, what: 'an invalid Date', remedy: 'Send a valid one.' }
    return written === value ? faultInFields(value, path, inside) : faultIn(written, path, inside)
  }
  const known = OBJECT_FAULTS.find(([is]) => is(value))
  if (known !== undefined) return { path, what: known[1], remedy: known[2] }
  return faultInFields(value, path, inside)
}

function faultInFields(value: object, path: string, inside: readonly unknown[]): Fault | undefined {
  if (Array.isArray(value)) {
    // `entries` also gives the holes of a sparse list, as undefined.
    for (const [index, item] of value.entries()) {
      const fault = faultIn(item, `${path}[${index}]`, inside)
      if (fault !== undefined) return fault
    }
    return undefined
  }
  const fields = Object.entries(value)
  if (fields.length === 0 && !isPlain(value) && !types.isBoxedPrimitive(value)) {
    return { path, what: `a ${className(value)} without fields`, remedy: 'Send its content.' }
  }
  for (const [key, field] of fields) {
    if (field === undefined || key === 'toJSON') continue
    const fault = faultIn(field, fieldPath(path, key), inside)
    if (fault !== undefined) return fault
  }
  return undefined
}

/** True for `{}`, also of another realm such as a `vm` context. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function className(value: object): string {
  const { constructor } = value
  return (typeof constructor === 'function' && constructor.name) || 'object'
}

function fieldPath(path: string, key: string): string {
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`
}

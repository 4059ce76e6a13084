import { clipText, isError, messageOf } from './errors.ts'
import { property } from './property.ts'

/** What logs and dead letters keep of a thrown value. Other fields may hold secrets, such as a request with its token. */
export interface ErrorFields {
  /** The name of the error's class. */
  readonly type?: string
  readonly code?: string | number
  readonly message: string
  readonly stack?: string
  readonly cause?: ErrorFields | string
  /** The errors of an `AggregateError`. */
  readonly errors?: readonly (ErrorFields | string)[]
}

export interface ErrorBounds {
  /** The maximum length of all texts together, in UTF-16 code units. */
  readonly text: number
  /** The number of causes. */
  readonly causes: number
}

const LOG_BOUNDS: ErrorBounds = { text: 32_768, causes: 8 }
const MAX_NAME = 200
/** The number of errors that are kept of an `AggregateError`. */
const MAX_ERRORS = 8

interface ReadState {
  readonly left: { text: number }
  readonly causes: number
  readonly holders: readonly object[]
}

/**
 * Reads name, code, message, stack and cause of a thrown value, within bounds. Does not call `toJSON`, and drops all other
 * fields. A primitive value becomes a text. Never throws.
 */
export function errorFields(thrown: unknown, bounds: ErrorBounds = LOG_BOUNDS): ErrorFields | string {
  return read(thrown, { left: { text: bounds.text }, causes: bounds.causes, holders: [] })
}

/** A thrown value as a log line's `err`: an error stays, because the user's logger may read it in its own way. */
export function errorForLog(thrown: unknown): Error | ErrorFields | string {
  return isError(thrown) ? thrown : errorFields(thrown)
}

function read(thrown: unknown, { left, causes, holders }: ReadState): ErrorFields | string {
  if (typeof thrown !== 'object' || thrown === null) return take(messageOf(thrown), left)
  if (holders.includes(thrown)) return '[circular]'
  const name = property(thrown, 'name')
  const code = property(thrown, 'code')
  const own = property(thrown, 'message')
  const type = typeof name === 'string' && name !== '' ? take(name.slice(0, MAX_NAME), left) : undefined
  const message = take(typeof own === 'string' ? own : messageOf(thrown), left, 0.5)
  const stack = property(thrown, 'stack')
  // Half of the text is left for the causes.
  const ownStack = typeof stack === 'string' ? take(stack, left, 0.5) : undefined
  const inner: ReadState = { left, causes: causes - 1, holders: [...holders, thrown] }
  const cause = property(thrown, 'cause')
  const errors = property(thrown, 'errors')
  return {
    ...(type !== undefined && { type }),
    ...(typeof code === 'string' && { code: take(code.slice(0, MAX_NAME), left) }),
    ...(typeof code === 'number' && { code }),
    message,
    ...(ownStack !== undefined && { stack: ownStack }),
    ...(cause !== undefined && cause !== null && { cause: causes > 0 ? read(cause, inner) : '[more causes]' }),
    ...readErrors(errors, inner),
  }
}

function readErrors(errors: unknown, place: ReadState): Pick<ErrorFields, 'errors'> {
  try {
    if (!Array.isArray(errors) || place.causes < 0) return {}
    return { errors: errors.slice(0, MAX_ERRORS).map((error) => read(error, place)) }
  } catch {
    // A proxy of a list may throw on any access.
    return {}
  }
}

/** Takes the text from what is left, at most the given share of it. */
function take(text: string, left: { text: number }, share = 1): string {
  const clipped = clipText(text, Math.floor(left.text * share))
  left.text = Math.max(0, left.text - clipped.length)
  return clipped
}

import { z } from 'zod'
import type { Headers } from '../contract/index.ts'
import { errorFields, type ErrorFields } from '../error-fields.ts'
import { HEADER } from './envelope.ts'

/** What a dead letter keeps of the failure of its job. */
export interface Failure {
  /** The name of the task. Absent if the worker did not know it. */
  readonly task?: string
  /** The number of failed attempts. */
  readonly attempts: number
  /** The error of the last attempt, with its stack and causes. Absent if the job was refused without an attempt. */
  readonly error?: ErrorFields | string
}

const errorSchema: z.ZodType<ErrorFields | string> = z.lazy(() =>
  z.union([
    z.string(),
    z.object({
      type: z.string().exactOptional(),
      code: z.union([z.string(), z.number()]).exactOptional(),
      message: z.string(),
      stack: z.string().exactOptional(),
      cause: errorSchema.exactOptional(),
      errors: z.array(errorSchema).exactOptional(),
    }),
  ]),
)

/** The version of the header. A header of another version is not read. */
const VERSION = 1
/** The maximum length of the header, in ASCII characters: large headers are expensive in every broker. */
const MAX_LENGTH = 4_096
/** The texts of an error, tried in this order until the header is short enough. */
const TEXT_LENGTHS = [3_000, 1_500, 500, 100]
const MAX_CAUSES = 4

const failureSchema = z.object({
  v: z.literal(VERSION),
  task: z.string().optional(),
  attempts: z.number(),
  error: errorSchema.optional(),
})

/** Encodes a failure as a header: JSON in ASCII, because not every broker can carry other characters. */
export function encodeFailure(
  task: string | undefined,
  attempts: number,
  thrown?: { readonly error: unknown },
): string {
  for (const text of TEXT_LENGTHS) {
    const error = thrown === undefined ? undefined : errorFields(thrown.error, { text, causes: MAX_CAUSES })
    const json = JSON.stringify({ v: VERSION, task, attempts, error })
    const ascii = json.replaceAll(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    if (ascii.length <= MAX_LENGTH) return ascii
  }
  return JSON.stringify({ v: VERSION, attempts })
}

/**
 * Reads the failure of a dead letter from its headers. Undefined if it has none, or one of another version. Does not throw.
 *
 * ```ts
 * const [letter] = await broker.admin.deadLetters.list('resize', { limit: 1 })
 * console.log(readFailure(letter.headers)?.error)
 * ```
 */
export function readFailure(headers: Headers): Failure | undefined {
  const text = headers[HEADER.failure]
  if (text === undefined) return undefined
  try {
    const { data } = failureSchema.safeParse(JSON.parse(text))
    if (data === undefined) return undefined
    const { attempts, task, error } = data
    return { attempts, ...(task !== undefined && { task }), ...(error !== undefined && { error }) }
  } catch {
    // Another program may have written the header.
    return undefined
  }
}
